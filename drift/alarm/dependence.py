"""How the features go together: what may change while every single one of them keeps its distribution.

The correlations of normal scores are compared pair by pair, each difference in units of its own spread. Their mean
square is the maximum mean discrepancy with a polynomial kernel of degree 2 (Gretton et al. 2012, JMLR 13:723) with
the marginals taken out, and sees a change of many pairs; the largest square sees a change of a single pair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.alarm.bins import CODES, MISSING, Bins, Codes

__all__ = ["MOST_COLUMNS", "Dependence"]

#: Columns of scores at most: pairs grow with their square. Of more, as many are chosen by the seed.
MOST_COLUMNS: Final = 128
#: A feature of texts is seen through its so many fullest bins, a column for each: in it or not.
_TEXT_COLUMNS: Final = 4
#: The spread of a correlation counts as at least this, 1 being that of independent ones: that of two columns which
#: repeat each other is 0.
_LEAST_SPREAD: Final = 0.05
_CHUNK_ROWS: Final = 4096
#: A spread below this is that of a constant, but for rounding.
_CONSTANT: Final = 1e-9
#: Part of the mean square that is rounding in single precision, of some thousand rows.
_ROUNDING: Final = 1e-5
#: Multiplications that OpenBLAS does in the calling thread; beyond, it wakes all cores, and on busy ones that costs
#: fifty times the work (SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD of its interface/gemm.c).
_ONE_THREAD_PRODUCTS: Final = 65536 * 4

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dependence:
    """The pairs of columns of the reference.

    `places` says of which feature each column is, and `scores` has its number for each code, mean 0 and variance 1
    over the reference. `correlations` and `spreads` are (columns, columns); `pairs` picks out each pair once.
    """

    places: NDArray[np.intp]
    scores: Floats
    correlations: Floats
    spreads: Floats
    pairs: NDArray[np.bool_]

    @classmethod
    def of(cls, codes: Codes, bins: Sequence[Bins], random: np.random.Generator) -> "Dependence":
        """Learn the pairs from the codes of the reference, (rows, features)."""
        columns = [
            column for place, each in enumerate(bins) for column in _columns(codes[:, place], place, each)
        ]
        if len(columns) > MOST_COLUMNS:
            columns = [columns[at] for at in np.sort(random.permutation(len(columns))[:MOST_COLUMNS])]
        places = np.array([place for place, _ in columns], dtype=np.intp)
        scores = np.array([table for _, table in columns], dtype=np.float32).reshape(-1, CODES)
        correlations, spreads = _moments(codes, places, scores)
        pairs = np.triu(places[:, None] != places[None, :])
        return cls(places, scores, correlations, spreads, pairs)

    def __bool__(self) -> bool:
        """Whether there is a pair to look at."""
        return bool(self.pairs.any())

    def statistics(self, codes: Codes, size: float) -> NDArray[np.float64]:
        """Return mean square and largest square for windows of codes, (windows, rows, features): (windows, 2)."""
        values = _look_up(codes, self.places, self.scores)
        means = values.mean(axis=1)
        moments = _products(values, values) / values.shape[1]
        lengths = np.sqrt(_varied(np.diagonal(moments, axis1=1, axis2=2), means))
        differences = moments - means[:, :, None] * means[:, None, :]
        differences *= lengths[:, :, None] * lengths[:, None, :]
        differences -= self.correlations
        differences /= self.spreads
        squares = size * np.square(differences[:, self.pairs]).astype(np.float64)
        return np.stack([squares.mean(axis=1), squares.max(axis=1)], axis=1)


def _columns(codes: Codes, place: int, bins: Bins) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Return the tables of scores of one feature, none when it is constant."""
    counts = np.bincount(codes, minlength=CODES).astype(float)
    present = counts[:MISSING]
    if bins.ordered:
        tables = [_normal_scores(present)]
    else:
        fullest = np.argsort(-present, kind="stable")[: min(_TEXT_COLUMNS, np.count_nonzero(present) - 1)]
        tables = [np.eye(CODES)[code] for code in fullest]
    for table in tables:
        table[MISSING] = np.average(table[:MISSING], weights=present) if present.any() else 0
        centred = table - np.average(table, weights=counts)
        spread = np.sqrt(np.average(centred**2, weights=counts))
        if spread > _CONSTANT:
            yield place, centred / spread


def _normal_scores(present: NDArray[np.float64]) -> NDArray[np.float64]:
    total = max(present.sum(), 1)
    ranks = np.clip((present.cumsum() - present / 2) / total, 0.5 / total, 1 - 0.5 / total)
    return np.array([*map(NormalDist().inv_cdf, ranks), 0.0])


def _moments(codes: Codes, places: NDArray[np.intp], scores: Floats) -> tuple[Floats, Floats]:
    """Return the correlations, and the spread of each times the root of the number of rows.

    The spread is that of the influence of a row: x y - r (x^2 + y^2) / 2 (Devlin, Gnanadesikan & Kettenring 1975,
    doi:10.1093/biomet/62.3.531).
    """
    rows, width = len(codes), len(places)
    products, squares, cubes = np.zeros((3, width, width))
    for start in range(0, rows, _CHUNK_ROWS):
        values = _look_up(codes[None, start : start + _CHUNK_ROWS], places, scores)
        squared = np.square(values)
        products += _products(values, values)[0]
        squares += _products(squared, squared)[0]
        cubes += _products(squared * values, values)[0]
    products, squares, cubes = products / rows, squares / rows, cubes / rows
    fourth = np.diag(squares)
    variance = squares - products * (cubes + cubes.T)
    variance += np.square(products) / 4 * (fourth[:, None] + fourth[None, :] + 2 * squares)
    spreads = np.sqrt(np.maximum(variance, _LEAST_SPREAD**2))
    return products.astype(np.float32), spreads.astype(np.float32)


def _varied(squares: Floats, means: Floats) -> Floats:
    """Return 1 / variance, and 0 of what does not vary but for rounding: it has no correlation."""
    variances = squares - np.square(means)
    varied = variances > _ROUNDING * squares
    inverse: Floats = np.zeros_like(variances)
    np.divide(1, variances, out=inverse, where=varied)
    return inverse


def _look_up(codes: Codes, places: NDArray[np.intp], scores: Floats) -> Floats:
    cells = codes[..., places] + np.arange(len(places)) * CODES
    values: Floats = scores.ravel()[cells]
    return values


def _products(one: Floats, other: Floats) -> Floats:
    """Return the sums over rows of the products of each two columns: (windows, rows, columns) twice."""
    windows, rows, columns = one.shape
    tile = min(max(_ONE_THREAD_PRODUCTS // max(columns, 1) ** 2, 1), rows)
    tiles = -(-rows // tile)
    if tiles * tile > rows:
        padding = ((0, 0), (0, tiles * tile - rows), (0, 0))
        one, other = np.pad(one, padding), np.pad(other, padding)
    left, right = (side.reshape(windows, tiles, tile, columns) for side in (one, other))
    # A copy, since numpy calls another routine, with another limit, for a matrix times itself.
    found: Floats = (np.ascontiguousarray(left.transpose(0, 1, 3, 2)) @ right).sum(axis=1)
    return found
