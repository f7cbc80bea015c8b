"""Bins of a column, chosen on the reference once: all that the alarm knows of a value is the bin it falls into.

Every column has the same codes: `BINS` for values, and `MISSING` for none. Numbers fall between quantiles of the
reference, with open ends, so that no outlier counts for more than its bin. A value that the reference repeats often
has a bin of its own, so that a feature of few values is told from its neighbours. Texts and labels have a bin each,
or share one with others when there are too many, and one for `NEW` ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from drift.rows import Predictions, Reference, Schema

__all__ = [
    "BINS",
    "CODES",
    "MISSING",
    "NEW",
    "Bins",
    "Categories",
    "Codes",
    "Column",
    "Labels",
    "Quantiles",
    "column_bins",
]

#: Bins of values. Anderson-Darling on 32 quantile bins is within 3 % of that of the values themselves.
BINS: Final = 32
#: The code of a missing value, and the number of codes.
MISSING: Final = BINS
CODES: Final = BINS + 1
#: The code of a text that the reference does not have.
NEW: Final = BINS - 1
#: Reference rows for each quantile bin at least: Cochran's rule for chi-square (1954, doi:10.2307/3001616).
_ROWS_A_BIN: Final = 5
_LEAST_BINS: Final = 4

Codes = NDArray[np.uint8]
Column = NDArray[Any]


class Bins(Protocol):
    """How the values of one column become codes, uint8, of the same shape."""

    @property
    def ordered(self) -> bool:
        """Whether a higher code means a higher value."""

    def codes(self, column: Column) -> Codes:
        """Return the codes of current values."""

    def reference_codes(self, column: Column) -> Codes:
        """Return the codes of the values that the bins were chosen on."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Bins of numbers: `edges` rise, and a value belongs to the bin above the last edge that it reaches."""

    edges: NDArray[np.float64]

    @classmethod
    def of(cls, column: Column) -> "Quantiles":
        """Choose the edges on the values of the reference."""
        values = np.sort(column[~np.isnan(column)])
        if not len(values):
            return cls(np.empty(0))
        count = int(np.clip(len(values) // _ROWS_A_BIN, _LEAST_BINS, BINS))
        quantiles = values[len(values) * np.arange(1, count) // count]
        edges, times = np.unique(quantiles, return_counts=True)
        # A quantile that repeats is a value that repeats: its bin ends right above it.
        return cls(np.union1d(edges, np.nextafter(edges[times > 1], np.inf)))

    @property
    def ordered(self) -> bool:
        """Numbers are."""
        return True

    def codes(self, column: Column) -> Codes:
        """Return the codes of numbers; NaN is missing."""
        found = self.edges.searchsorted(column, side="right").astype(np.uint8)
        found[np.isnan(column)] = MISSING
        return found

    reference_codes = codes


@dataclass(frozen=True, slots=True)
class Categories:
    """Bins of texts, given as numbers from 0; the number after the last known one means new.

    Too many to have a bin each are dealt out by their place, not by how often they occur: bins that were chosen for
    being full in the reference would always be less full in the next rows.
    """

    #: How often the reference has each.
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, column: Column, known: int) -> "Categories":
        """Count the categories of the reference, of which `known` have a number."""
        present = column[~np.isnan(column)].astype(np.int64)
        return cls(np.bincount(present, minlength=known)[:known])

    @property
    def ordered(self) -> bool:
        """The order of texts says nothing."""
        return False

    def codes(self, column: Column) -> Codes:
        """Return the codes of categories; NaN is missing."""
        return self._look_up(column, np.arange(len(self.counts)) % NEW)

    def reference_codes(self, column: Column) -> Codes:
        """Return the codes of the reference: what it has once is new there.

        Without that row the reference would not know it, so the share of such rows is what can be expected of new
        ones in other rows (Good 1953, doi:10.1093/biomet/40.3-4.237).
        """
        places = np.arange(len(self.counts)) % NEW
        return self._look_up(column, np.where(self.counts == 1, NEW, places))

    def _look_up(self, column: Column, places: NDArray[np.int64]) -> Codes:
        table = np.append(places, (NEW, MISSING)).astype(np.uint8)
        missing = np.isnan(column)
        numbers = np.where(missing, len(places) + 1, np.clip(column, 0, len(places)))
        return table[numbers.astype(np.intp)]


@dataclass(frozen=True, slots=True)
class Labels:
    """Bins of predicted labels."""

    places: dict[object, int]
    categories: Categories

    @classmethod
    def of(cls, labels: Predictions) -> "Labels":
        """Number the labels of the reference."""
        places: dict[object, int] = {label: place for place, label in enumerate(sorted(set(labels.tolist())))}
        numbers = _numbers(places, labels.tolist())
        return cls(places, Categories.of(numbers, len(places)))

    @property
    def ordered(self) -> bool:
        """The order of labels says nothing."""
        return False

    def codes(self, column: Column) -> Codes:
        """Return the codes of labels; one that the reference does not have is new."""
        return self.categories.codes(_numbers(self.places, column.tolist()))

    def reference_codes(self, column: Column) -> Codes:
        """Return the codes of the reference."""
        return self.categories.reference_codes(_numbers(self.places, column.tolist()))


def column_bins(reference: Reference) -> list[Bins]:
    """Return the bins of each feature in model order, and those of the predictions last."""
    rows, schema = reference.rows, reference.schema
    bins = [_feature_bins(schema, place, column) for place, column in enumerate(rows.features.T)]
    number = schema.kind == "number"
    return [*bins, Quantiles.of(rows.predictions) if number else Labels.of(rows.predictions)]


def _feature_bins(schema: Schema, place: int, column: Column) -> Bins:
    texts = schema.categories[place] if schema.categories else ()
    return Categories.of(column, len(texts)) if texts else Quantiles.of(column)


def _numbers(places: dict[object, int], labels: Sequence[object]) -> NDArray[np.float64]:
    new = len(places)
    return np.fromiter((places.get(label, new) for label in labels), np.float64, len(labels))
