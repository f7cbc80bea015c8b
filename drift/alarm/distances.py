"""How far the counts of two samples in the same bins lie apart, many samples and columns at once.

Counts have the shape (..., columns, codes). `share` is the part that the first sample has of the rows of both, 0 to 1.
`size` is the effective size 1/(1/m + 1/n) of two samples of m and n rows, by which distances are scaled, so that they
do not grow with the rows unless something changed.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.alarm.bins import BINS, MISSING

__all__ = ["Counts", "Floats", "anderson_darling", "category_distances", "mood", "ordered_distances"]

#: Weight of missing against present values beside Anderson-Darling, which gives a shift of the median half of its
#: chi-square: it is the sum of z_j^2 / (j (j + 1)) (Anderson & Darling 1952, doi:10.1214/aoms/1177729437).
_MISSING_WEIGHT: Final = 0.5
#: Weight of a change of scale beside Anderson-Darling, which gives it a sixth. Of 50 rows with 1.5 times the deviation
#: this finds 29 % instead of 3 %, at the price of shifts by half a deviation: 46 % instead of 49 %.
_SCALE_WEIGHT: Final = 1 / 6
#: A variance below this is none: what rounding leaves of that of a constant.
_NOTHING: Final = 1e-15

Floats = NDArray[np.floating]
Counts = NDArray[np.integer]


def category_distances(drawn: Counts, fixed: Counts, *, share: float, size: float) -> Floats:
    """Return chi-square over all codes, of each column; the order of codes does not matter."""
    found: Floats = size * _chi_square(_shares(drawn), _shares(fixed), share).sum(axis=-1)
    return found


def ordered_distances(drawn: Counts, fixed: Counts, *, share: float, size: float) -> Floats:
    """Return the distance of present values, in place and in scale, and chi-square of missing ones, of each column."""
    one, other = _shares(drawn), _shares(fixed)
    missing = _two_cells(one[..., MISSING], other[..., MISSING], share)
    present = np.minimum(1 - one[..., MISSING], 1 - other[..., MISSING])
    one, other = _shares(drawn[..., :BINS]), _shares(fixed[..., :BINS])
    distance = anderson_darling(one, other, share) + _SCALE_WEIGHT * mood(one, other, share)
    found: Floats = size * (present * distance + _MISSING_WEIGHT * missing)
    return found


def anderson_darling(one: Floats, other: Floats, share: float) -> Floats:
    """Return the distance of the shares of two samples in ordered bins.

    At each border between two bins stands the chi-square of the values below against those above, weighted with the
    part of the values beside it (Scholz & Stephens 1987, doi:10.1080/01621459.1987.10478517, equation 6, made
    symmetric in up and down).
    """
    within = share * one + (1 - share) * other
    beside = (within[..., 1:] + within[..., :-1]) / 2
    below, other_below = (np.minimum(np.cumsum(side, axis=-1)[..., :-1], 1) for side in (one, other))
    distance: Floats = (beside * _two_cells(below, other_below, share)).sum(axis=-1)
    return distance


def mood(one: Floats, other: Floats, share: float) -> Floats:
    """Return chi-square of the mean squared distance from the median, in ranks.

    It is the test of Mood (1954, doi:10.1214/aoms/1177728719). The ranks are those of both sides together, of which
    each counts a quarter at least, so that a single row far from all others counts as in `_chi_square`.
    """
    weight = min(max(share, 0.25), 0.75)
    within = weight * one + (1 - weight) * other
    scores = np.square(np.cumsum(within, axis=-1) - within / 2 - 0.5)
    scores -= (within * scores).sum(axis=-1, keepdims=True)
    variance = (within * np.square(scores)).sum(axis=-1)
    difference = ((one - other) * scores).sum(axis=-1)
    return _quotient(np.square(difference), variance)


def _two_cells(one: Floats, other: Floats, share: float) -> Floats:
    return _chi_square(one, other, share) + _chi_square(1 - one, 1 - other, share)


def _chi_square(one: Floats, other: Floats, share: float) -> Floats:
    """Return (p - q)^2 / variance of each cell, 0 where both are empty.

    The variance is Pearson's, of the two samples together, or that of Freeman and Tukey (1950,
    doi:10.1214/aoms/1177729756) where it is larger. Pearson's alone would take a single row in a cell that a large
    reference leaves empty for the end of the world: n / m, where the other says 4.
    """
    root = (np.sqrt(one) + np.sqrt(other)) / 2
    variance = np.maximum(share * one + (1 - share) * other, root * root)
    return _quotient(np.square(one - other), variance)


def _quotient(square: Floats, variance: Floats) -> Floats:
    quotient: Floats = np.zeros_like(square)
    np.divide(square, variance, out=quotient, where=variance > _NOTHING)
    return quotient


def _shares(counts: Counts) -> Floats:
    total = counts.sum(axis=-1, keepdims=True)
    shares: Floats = counts / np.maximum(total, 1)
    return shares
