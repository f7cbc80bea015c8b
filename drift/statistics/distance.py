"""Distances between two samples, in Evidently's definitions: 0 means the same, and larger means further apart.

Population stability index, Kullback-Leibler divergence and Jensen-Shannon distance compare the shares of bins, and
Evidently 0.7.23 chooses the bins anew for each pair (`legacy/calculations/stattests/utils.py`): of equal width over
both sides, their number by Sturges' rule, or one for each value where the reference has at most 20. One far outlier
therefore widens all bins until they hide a shift; the values here do the same on purpose, because the metrics
are named after Evidently, and the alarm (`drift.alarm`) is what cannot be blinded that way.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.statistics.sample import Numbers, Sample, Values, count_pairs

__all__ = [
    "energy",
    "hellinger",
    "jensen_shannon",
    "kullback_leibler",
    "normalised_by",
    "population_stability",
    "wasserstein",
]

#: A reference with at most so many distinct numbers has a bin for each (Evidently's).
MAX_VALUES_AS_BINS: Final = 20
#: Stands for the share of an empty bin, unless the smallest of the others is not above it (Evidently's).
EMPTY_SHARE: Final = 0.0001
#: The smallest share is divided by this to stand for an empty bin then (Evidently's).
EMPTY_DIVISOR: Final = 10**6
#: Evidently divides the Wasserstein distance by the reference's deviation, at least by this. That blinds it to
#: columns whose values are all small, so that here it is relative to the largest of them where that is below 1.
DEVIATION_FLOOR: Final = 0.001
#: Current rows at once: their intermediate arrays stay in the processor's cache.
_BLOCK_ROWS: Final = 1 << 13
#: Columns further from zero than so many of their deviations are centred first: their sums would lose digits.
_FAR_DEVIATIONS: Final = 1000.0


def wasserstein(reference: Numbers, current: Numbers) -> float:
    """Return the Wasserstein-1 distance in deviations of the reference.

    The distance is the mean over quantiles of |F⁻¹(q) - G⁻¹(q)|. A current row holds one value over 1/m of the
    quantiles, and within it the reference changes sides at most once, at the row's rank; before and behind it the
    integral is a sum of reference values. So there is one search for each current row, and one sum over the reference.
    """
    values, centre = reference.ordered, 0.0
    if abs(reference.mean) > _FAR_DEVIATIONS * reference.deviation:
        centre = reference.mean
        values = values - centre
    blocks = range(0, len(current), _BLOCK_ROWS)
    total = sum(_block_cost(reference, current, start, values, centre) for start in blocks)
    return max(total / len(reference), 0.0) / normalised_by(reference)


def _block_cost(reference: Numbers, current: Numbers, start: int, values: Values, centre: float) -> float:
    # In units of 1 / (n m) a quantile is a whole number, so that no rounding moves a row to another rank.
    n, m = len(reference), len(current)
    rows = current.ordered[start : start + _BLOCK_ROWS]
    edges = np.arange(start, start + len(rows) + 1) * n
    low, high = edges[:-1], edges[1:]
    crossing = np.searchsorted(reference.ordered, rows, side="right") * m
    whole, rest = np.divmod(edges, m)
    cut = rest * (values[np.minimum(whole, n - 1)] / m)  # of the reference value that an edge goes through
    between = _sums_between(values, whole[:-1], whole[1:]) - cut[:-1] + cut[1:]
    before = np.where(crossing >= high, between, 0.0)
    inside = np.flatnonzero((crossing > low) & (crossing < high))
    before[inside] = _sums_between(values, whole[inside], crossing[inside] // m) - cut[inside]
    sides = (2 * np.clip(crossing, low, high) - low - high) / m
    # Not `np.dot`: from 10,000 rows on, its threads cost more than they save.
    return float(np.sum((rows - centre) * sides + between - 2 * before))


def _sums_between(values: Values, first: NDArray[np.int64], last: NDArray[np.int64]) -> Values:
    """Return the sums of `values[first:last]`, pairs in ascending order without overlap."""
    sums = np.zeros(len(first))
    some = np.flatnonzero(last > first)
    if len(some):
        places = np.column_stack([first[some], last[some]]).ravel()
        # Every other sum is that of the values from one pair to the next.
        sums[some] = np.add.reduceat(values[: places[-1]], places[:-1])[::2]
    return sums


def normalised_by(reference: Numbers) -> float:
    """Return what the Wasserstein distance is divided by."""
    largest = float(max(-reference.ordered[0], reference.ordered[-1]))
    return max(reference.deviation, DEVIATION_FLOOR * (min(largest, 1.0) or 1.0))


def energy(reference: Numbers, current: Numbers) -> float:
    """Return the energy distance: the square root of twice the integral of (F - G)², in the column's own unit."""
    points = np.union1d(reference.distinct[0], current.distinct[0])
    first, second = (
        np.searchsorted(side.ordered, points[:-1], side="right") / len(side) for side in (reference, current)
    )
    return float(np.sqrt(2 * np.dot((first - second) ** 2, np.diff(points))))


def population_stability(reference: Sample, current: Sample) -> float:
    """Return the population stability index: the sum of (p - q) ln(p / q) over bins without empty ones."""
    p, q = (_without_empty(shares) for shares in _binned_shares(reference, current))
    return float(np.sum((p - q) * np.log(p / q)))


def kullback_leibler(reference: Sample, current: Sample) -> float:
    """Return the divergence of the current shares from the reference's, of bins without empty ones, in nats."""
    p, q = (_without_empty(shares) for shares in _binned_shares(reference, current))
    p, q = p / p.sum(), q / q.sum()
    return max(float(np.sum(p * np.log(p / q))), 0.0)


def jensen_shannon(reference: Sample, current: Sample) -> float:
    """Return the Jensen-Shannon distance: the square root of the divergence in nats."""
    p, q = _binned_shares(reference, current)
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    divergence = np.sum(_relative_entropy(p, middle)) + np.sum(_relative_entropy(q, middle))
    return float(np.sqrt(max(divergence, 0.0) / 2))


def hellinger(reference: Sample, current: Sample) -> float:
    """Return the Hellinger distance; its bins follow Sturges' rule for the number of distinct values."""
    if isinstance(reference, Numbers) and isinstance(current, Numbers):
        edges = _edges(reference, current, len(np.union1d(reference.distinct[0], current.distinct[0])))
        p, q = (_counts_between(edges, side) / len(side) for side in (reference, current))
    else:
        p, q = (counts / counts.sum() for counts in count_pairs(reference, current))
    return float(np.sqrt(1 - np.clip(np.sum(np.sqrt(p * q)), 0.0, 1.0)))


def _relative_entropy(p: Values, q: Values) -> Values:
    there = p > 0
    return p[there] * np.log(p[there] / q[there])


def _binned_shares(reference: Sample, current: Sample) -> tuple[Values, Values]:
    """Return the shares of Evidently's bins, in the reference and in the current rows."""
    if (
        isinstance(reference, Numbers)
        and isinstance(current, Numbers)
        and reference.distinct_count > MAX_VALUES_AS_BINS
    ):
        edges = _edges(reference, current, len(reference) + len(current))
        counts = (_counts_between(edges, reference), _counts_between(edges, current))
    else:
        counts = count_pairs(reference, current)
    return counts[0] / len(reference), counts[1] / len(current)


def _edges(reference: Numbers, current: Numbers, count: int) -> Values:
    """Return the edges of bins of equal width over both sides, as many as Sturges' rule wants for `count`.

    The same arithmetic as `numpy.histogram_bin_edges(…, bins="sturges")`, without looking at all the values.
    """
    low = min(reference.ordered[0], current.ordered[0])
    high = max(reference.ordered[-1], current.ordered[-1])
    width = (high - low) / (np.log2(count) + 1.0)
    if not width:
        return np.array([low - 0.5, high + 0.5])
    return np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)


def _counts_between(edges: Values, sample: Numbers) -> Values:
    places = np.searchsorted(sample.ordered, edges, side="left")
    places[-1] = np.searchsorted(sample.ordered, edges[-1], side="right")  # the last bin has its upper edge
    return np.diff(places).astype(np.float64)


def _without_empty(shares: Values) -> Values:
    smallest = shares[shares > 0].min(initial=1.0)
    stand_in = smallest / EMPTY_DIVISOR if smallest <= EMPTY_SHARE else EMPTY_SHARE
    return np.where(shares == 0, stand_in, shares)
