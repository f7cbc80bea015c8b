"""One column of one side, counted once: what all statistics are made of."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Labels",
    "Numbers",
    "Sample",
    "Values",
    "codes_of",
    "count_pairs",
    "finite_numbers",
    "is_one_value",
]

Values = NDArray[np.float64]

#: Numbers beyond it stand at it, so that no sum or square of a column overflows a float64.
LARGEST_NUMBER: Final = 1e100


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers: the finite ones sorted, and how many rows have none.

    `in_order` has the same numbers in the order of the rows, and is None unless the column's method needs it.
    """

    ordered: Values
    missing: int
    in_order: Values | None = None

    @classmethod
    def of(cls, column: Values, *, keeps_order: bool = False) -> "Numbers":
        """Sort one column; NaN and the infinities count as missing."""
        ordered = np.sort(column)
        # They sort to the two ends, so that finding them costs nothing.
        first = int(np.searchsorted(ordered, -np.inf, side="right"))
        last = int(np.searchsorted(ordered, np.inf, side="left"))
        finite = _bounded(ordered[first:last])
        in_order = finite_numbers(column) if keeps_order else None
        return cls(finite, len(column) - len(finite), in_order)

    def __len__(self) -> int:
        return len(self.ordered)

    @property
    def distinct(self) -> tuple[Values, NDArray[np.int64]]:
        """The distinct values in ascending order, and how often each is there; computed anew, as it may be large."""
        starts = np.flatnonzero(np.diff(self.ordered, prepend=np.nan) != 0)
        return self.ordered[starts], np.diff(starts, append=len(self.ordered))

    @cached_property
    def distinct_count(self) -> int:
        """How many distinct values there are."""
        return int(np.count_nonzero(np.diff(self.ordered))) + 1 if len(self.ordered) else 0

    @cached_property
    def mean(self) -> float:
        """The mean."""
        return float(np.mean(self.ordered))

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of the rows themselves, without correction."""
        return float(np.std(self.ordered))


@dataclass(frozen=True, eq=False)
class Labels:
    """A column of texts: how often each is there, and how many rows have none.

    `in_order` has the texts in the order of the rows, and is None unless the column's method needs it.
    """

    counts: dict[str, int]
    missing: int
    in_order: Sequence[str] | None = None

    @classmethod
    def of(cls, texts: Iterable[str | None], *, keeps_order: bool = False) -> "Labels":
        """Count texts; None counts as missing."""
        counts = Counter(texts)
        missing = counts.pop(None, 0)
        found = {text: count for text, count in counts.items() if text is not None}
        in_order = [text for text in texts if text is not None] if keeps_order else None
        return cls(found, missing, in_order)

    @classmethod
    def of_codes(cls, codes: Values, texts: Sequence[str], *, keeps_order: bool = False) -> "Labels":
        """Count codes of texts; what is no place in `texts` counts as its last, and NaN as missing."""
        known = codes[np.isfinite(codes)]
        places = np.clip(known, 0, len(texts) - 1).astype(np.intp)
        counts = np.bincount(places, minlength=len(texts)).tolist()
        in_order = [texts[place] for place in places.tolist()] if keeps_order else None
        found = {text: count for text, count in zip(texts, counts, strict=True) if count}
        return cls(found, len(codes) - len(known), in_order)

    def __len__(self) -> int:
        return sum(self.counts.values())

    @property
    def distinct_count(self) -> int:
        """How many distinct texts there are."""
        return len(self.counts)


Sample = Numbers | Labels


def finite_numbers(column: Values) -> Values:
    """Return the numbers of a column in the order of its rows, without those that are missing."""
    return _bounded(column[np.isfinite(column)])


def count_pairs(reference: Sample, current: Sample) -> tuple[Values, Values]:
    """Return how often each value of either side is in the reference, and in the current rows, in its order."""
    if isinstance(reference, Numbers) and isinstance(current, Numbers):
        values = np.union1d(reference.distinct[0], current.distinct[0])
        return _counts_at(values, reference), _counts_at(values, current)
    assert isinstance(reference, Labels)
    assert isinstance(current, Labels)
    texts = sorted(reference.counts.keys() | current.counts.keys())
    first, second = ([side.counts.get(text, 0) for text in texts] for side in (reference, current))
    return np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)


def codes_of(reference: Sample, current: Sample) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of both sides, in their order, as places among all values."""
    assert reference.in_order is not None
    assert current.in_order is not None
    _, codes = np.unique(np.array([*reference.in_order, *current.in_order]), return_inverse=True)
    return codes[: len(reference)], codes[len(reference) :]


def is_one_value(reference: Sample, current: Sample) -> bool:
    """Tell whether both sides have one value, and the same."""
    if isinstance(reference, Numbers) and isinstance(current, Numbers):
        first, last = reference.ordered[[0, -1]]
        return bool(first == last == current.ordered[0] == current.ordered[-1])
    assert isinstance(reference, Labels)
    assert isinstance(current, Labels)
    return len(reference.counts) == 1 and reference.counts.keys() == current.counts.keys()


def _bounded(finite: Values) -> Values:
    if len(finite) and max(-finite.min(), finite.max()) > LARGEST_NUMBER:
        return np.clip(finite, -LARGEST_NUMBER, LARGEST_NUMBER)
    return finite


def _counts_at(values: Values, sample: Numbers) -> Values:
    counts = np.zeros(len(values))
    found, how_often = sample.distinct
    counts[np.searchsorted(values, found)] = how_often
    return counts
