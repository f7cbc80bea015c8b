"""How the columns are spread, for the page: at most twenty bins a column, chosen on the reference.

Numbers of few distinct values have a bin each; others have bins of equal width with round edges over the middle of
the reference, and an open one at each end, so that no outlier, on either side, makes the others invisible. Texts
have a bin each, the most frequent of the reference first; the others share one, and so do those that it lacks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from drift.rows import Predictions, Rows
from drift.statistics.column import Distribution
from drift.statistics.prepared import NEW_TEXT, Column, Prepared
from drift.statistics.sample import Labels, Numbers, Values, finite_numbers

__all__ = ["MAX_BINS", "describe"]

MAX_BINS: Final = 20
#: The open bins begin here: one value in a hundred of the reference is beyond each.
OUTER_SHARE: Final = 0.01
#: A text longer than this is cut on the page.
MAX_TEXT: Final = 60
#: Steps that people count in, times a power of ten.
_ROUND_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
#: Beyond these people write powers of ten.
_LONGEST_PLAIN: Final = 1e12
_MOST_DECIMALS: Final = 6


def describe(prepared: Prepared, current: Rows) -> tuple[Distribution, ...]:
    """Return the distributions of the features in model order, then of the predictions."""
    return tuple(
        _describe(column, values)
        for column, values in prepared.columns(current)
        if column is not prepared.target
    )


def _describe(column: Column, values: Predictions) -> Distribution:
    bins = _bins(column)
    reference, current = bins.reference(column), bins.current(column, values)
    rows = len(column.reference) + column.reference.missing
    return Distribution(
        name=column.name,
        bins=bins.texts,
        reference=_shares(reference, rows),
        current=_shares(current, len(values)),
        missing_reference=_share(rows - int(reference.sum()), rows),
        missing_current=_share(len(values) - int(current.sum()), len(values)),
    )


class _Bins(Protocol):
    @property
    def texts(self) -> tuple[str, ...]:
        """What people call the bins."""

    def reference(self, column: Column) -> NDArray[np.int64]:
        """Count the reference."""

    def current(self, column: Column, values: Predictions) -> NDArray[np.int64]:
        """Count the values of other rows; those that are missing are in no bin."""


def _bins(column: Column) -> _Bins:
    reference = column.reference
    if isinstance(reference, Labels):
        return _TextBins.of(reference)
    if reference.distinct_count <= MAX_BINS - 1:
        return _ValueBins(reference.distinct[0])
    return _RangeBins(_round_edges(reference.ordered))


@dataclass(frozen=True, slots=True)
class _TextBins:
    shown: tuple[str, ...]
    others: frozenset[str]

    @classmethod
    def of(cls, reference: Labels) -> "_TextBins":
        counts = {text: count for text, count in reference.counts.items() if text != NEW_TEXT}
        by_count = sorted(counts, key=lambda text: (-counts[text], text))
        # One bin is for new texts, and another for those that do not fit.
        fit = MAX_BINS - 1 if len(by_count) < MAX_BINS else MAX_BINS - 2
        return cls(tuple(by_count[:fit]), frozenset(by_count[fit:]))

    @property
    def texts(self) -> tuple[str, ...]:
        others = (f"{len(self.others)} others",) if self.others else ()
        return (*map(_shortened, self.shown), *others, NEW_TEXT)

    def reference(self, column: Column) -> NDArray[np.int64]:
        assert isinstance(column.reference, Labels)
        return self._count(column.reference)

    def current(self, column: Column, values: Predictions) -> NDArray[np.int64]:
        sample = column.sample(values)
        assert isinstance(sample, Labels)
        return self._count(sample)

    def _count(self, sample: Labels) -> NDArray[np.int64]:
        counts = [sample.counts.get(text, 0) for text in self.shown]
        others = sum(sample.counts.get(text, 0) for text in self.others)
        new = len(sample) - sum(counts) - others
        return np.array([*counts, *([others] if self.others else []), new], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _ValueBins:
    values: Values

    @property
    def texts(self) -> tuple[str, ...]:
        return (*(f"{value:.12g}" for value in self.values), "other values")

    def reference(self, column: Column) -> NDArray[np.int64]:
        assert isinstance(column.reference, Numbers)
        return np.append(column.reference.distinct[1], 0)

    def current(self, column: Column, values: Predictions) -> NDArray[np.int64]:  # noqa: ARG002 - as the protocol
        finite = finite_numbers(values)
        places = np.minimum(np.searchsorted(self.values, finite), max(len(self.values) - 1, 0))
        known = self.values[places] == finite if len(self.values) else np.zeros(len(finite), dtype=bool)
        counts = np.bincount(np.where(known, places, len(self.values)), minlength=len(self.values) + 1)
        return counts.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _RangeBins:
    edges: Values

    @property
    def texts(self) -> tuple[str, ...]:
        step = float(self.edges[1] - self.edges[0]) if len(self.edges) > 1 else 1.0
        shown = list(_as_people_write(self.edges, step))
        between = (f"{low} – {high}" for low, high in pairwise(shown))
        return (f"< {shown[0]}", *between, f"≥ {shown[-1]}")

    def reference(self, column: Column) -> NDArray[np.int64]:
        assert isinstance(column.reference, Numbers)
        places = np.searchsorted(column.reference.ordered, self.edges, side="left")
        return np.diff(places, prepend=0, append=len(column.reference)).astype(np.int64)

    def current(self, column: Column, values: Predictions) -> NDArray[np.int64]:  # noqa: ARG002 - as the protocol
        finite = finite_numbers(values)
        places = np.searchsorted(self.edges, finite, side="right")
        return np.bincount(places, minlength=len(self.edges) + 1).astype(np.int64)


def _round_edges(ordered: Values) -> Values:
    """Return round edges, at most `MAX_BINS - 1`, over all but the outer values."""
    outer = int(OUTER_SHARE * len(ordered))
    low, high = float(ordered[outer]), float(ordered[-1 - outer])
    wanted = MAX_BINS - 4  # rounding outwards takes up to two more, and both ends are open
    if not high > low:  # nearly all are one value
        return np.array([low])
    power = 10.0 ** np.floor(np.log10((high - low) / wanted))
    step = next(
        round_step * power for round_step in _ROUND_STEPS if round_step * power * wanted >= high - low
    )
    first, last = np.floor(low / step), np.ceil(high / step)
    return np.unique(np.arange(first, last + 1)[: MAX_BINS - 1] * step)


def _as_people_write(edges: Values, step: float) -> Iterator[str]:
    decimals = max(0, 1 - math.floor(math.log10(step)))
    large = float(np.max(np.abs(edges)))
    if large >= _LONGEST_PLAIN or decimals > _MOST_DECIMALS:
        digits = max(3, math.ceil(math.log10(max(large / step, 1.0))) + 2)
        yield from (f"{edge:.{digits}g}" for edge in edges)
        return
    for edge in edges:
        fixed = f"{edge + 0.0:.{decimals}f}"
        text = fixed.rstrip("0").rstrip(".") if "." in fixed else fixed
        yield "0" if text == "-0" else text


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _shares(counts: NDArray[np.int64], rows: int) -> tuple[float, ...]:
    return tuple(_share(int(count), rows) for count in counts)


def _share(count: int, rows: int) -> float:
    return count / rows if rows else 0.0
