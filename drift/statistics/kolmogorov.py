"""The Kolmogorov-Smirnov test of two samples, with the p-value that SciPy gives (`scipy.stats.ks_2samp`).

Up to 10,000 rows on each side the p-value is exact: if nothing changed, every order of the rows of both sides is
as likely as any other, so that a walk through them in order, one step right for a reference row and one up for a
current row, is a random lattice path, and the test asks how likely it leaves the band around the diagonal whose
width is the distance. The recursion for the share of paths that leave, which loses no digits to cancellation, is
that of Viehmann 2021, "Numerically more stable computation of the p-values for the two-sample Kolmogorov-Smirnov
test" (arXiv:2102.08037). Here it goes along antidiagonals, for all columns at once, in NumPy alone: SciPy's own
needs `scipy.stats`, which is 74 MiB. Where a p-value is 1, SciPy's may come out above by rounding, and gives way to
the asymptotic one (0.99996); here it is 1. Beyond 10,000 rows it is asymptotic on both sides: `one_sample`.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from drift.statistics.one_sample import gap_exceeded
from drift.statistics.sample import Numbers, Values

__all__ = ["Gap", "find_gap", "p_values_of"]

#: The p-value is exact up to so many rows on the larger side (SciPy's `MAX_AUTO_N`).
MAX_EXACT_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest gap between two distribution functions, as a whole number of `1 / lcm(n, m)`."""

    reference_rows: int
    current_rows: int
    height: int

    @property
    def distance(self) -> float:
        """The gap as a number from 0 to 1."""
        return self.height / math.lcm(self.reference_rows, self.current_rows)


def find_gap(reference: Numbers, current: Numbers) -> Gap:
    """Return the largest gap between the distribution functions of two samples."""
    n, m = len(reference), len(current)
    # The reference's function is ahead most just before a current row, and behind most at one. Of equal rows the
    # first counts for the one and the last for the other, which the maxima choose by themselves.
    before = np.searchsorted(reference.ordered, current.ordered, side="left") * m
    at = np.searchsorted(reference.ordered, current.ordered, side="right") * m
    gap = max(np.max(before - np.arange(m) * n), np.max(np.arange(1, m + 1) * n - at))
    return Gap(n, m, int(gap) // math.gcd(n, m))


def p_values_of(gaps: Sequence[Gap]) -> list[float]:
    """Return how likely a gap at least as large is when nothing changed, for each of `gaps`."""
    same_sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, gap in enumerate(gaps):
        same_sizes[gap.reference_rows, gap.current_rows].append(place)
    found = np.empty(len(gaps))
    for (n, m), places in same_sizes.items():
        heights = [gaps[place].height for place in places]
        exact = max(n, m) <= MAX_EXACT_ROWS
        found[places] = _exact(n, m, heights) if exact else _asymptotic(n, m, heights)
    return [float(value) for value in found]


def _exact(n: int, m: int, heights: Sequence[int]) -> Values:
    """Return the shares of lattice paths from (0, 0) to (n, m) that touch the border of the band, for each height."""
    common = math.gcd(n, m)
    right, up = m // common, n // common  # how much a step moves the path away from the diagonal
    height = np.array(heights)[:, None]
    widest = int(height.max())
    columns = np.arange(2 * widest // (right + up) + 3)
    # `shares[h, c]`: of the paths to the c-th point of the band on this antidiagonal, those that touched.
    shares = (np.abs(columns) * right >= height).astype(np.float64)
    outside = np.ones((len(heights), 1))
    first = 0
    for steps in range(1, n + m + 1):
        start = max(0, steps - m, (steps * up - widest) // (right + up))
        if start == first:
            from_left, from_below = np.hstack([outside, shares[:, :-1]]), shares
        else:
            from_left, from_below = shares, np.hstack([shares[:, 1:], outside])
        first, across = start, start + columns
        # The chance that the last of the steps went right; beyond 1 there are no points, and nothing comes of them.
        last_step = np.minimum(across / steps, 1.0)
        shares = from_left * last_step + from_below * (1 - last_step)
        shares[np.abs(across * (right + up) - steps * up) >= height] = 1.0
    end: Values = shares[:, n - first]
    return end


def _asymptotic(n: int, m: int, heights: Sequence[int]) -> list[float]:
    effective = round(n * m / (n + m))
    return [gap_exceeded(effective, height / math.lcm(n, m)) for height in heights]
