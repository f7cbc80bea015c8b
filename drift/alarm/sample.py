"""Rows in codes: what windows are drawn from, and what is counted of each."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.alarm.bins import CODES, Bins, Codes, Column, column_bins
from drift.alarm.dependence import Dependence
from drift.alarm.distances import Counts, Floats, category_distances, ordered_distances
from drift.rows import Reference, Rows

__all__ = ["JOINT_ROWS", "Sample", "columns_of"]

#: Rows of a drawn window that its correlations are taken of: at 100 features they are most of the cost.
JOINT_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows in codes, (rows, columns) with the predictions last; `counts` says how often each column has each code."""

    bins: tuple[Bins, ...]
    codes: Codes
    counts: Counts
    ordered: NDArray[np.bool_]
    dependence: Dependence

    @classmethod
    def of(cls, reference: Reference, random: np.random.Generator) -> "Sample":
        """Choose the bins on the rows of `reference` and put them there."""
        bins = tuple(column_bins(reference))
        columns = zip(bins, columns_of(reference.rows), strict=True)
        codes = np.stack([each.reference_codes(column) for each, column in columns], axis=1)
        counts = np.stack([np.bincount(column, minlength=CODES) for column in codes.T])
        ordered = np.array([each.ordered for each in bins])
        return cls(bins, codes, counts, ordered, Dependence.of(codes[:, :-1], bins[:-1], random))

    def __len__(self) -> int:
        return len(self.codes)

    def measure(self, windows: NDArray[np.intp]) -> tuple[Counts, Floats]:
        """Return counts, (windows, columns, codes), and statistics of pairs of rows by place, (windows, rows)."""
        count, columns = len(windows), self.codes.shape[1]
        codes = self.codes[windows]
        cells = codes + (np.arange(count)[:, None, None] * columns + np.arange(columns)) * CODES
        counts = np.bincount(cells.ravel(), minlength=count * columns * CODES)
        return counts.reshape(count, columns, CODES), self.pair_statistics(codes[:, :JOINT_ROWS, :-1])

    def pair_statistics(self, codes: Codes, size: float | None = None) -> Floats:
        """Return those of `Dependence`, of windows of codes; `size` is their number of rows unless it is given."""
        if not self.dependence:
            return np.zeros((len(codes), 2))
        return self.dependence.statistics(codes, codes.shape[1] if size is None else size)

    def distances(self, counts: Counts, fixed: Counts, *, share: float, size: float) -> Floats:
        """Return the distance between two counts of each column, as `distances` says."""
        found: Floats = np.empty(counts.shape[:-1])
        for distance, chosen in ((ordered_distances, self.ordered), (category_distances, ~self.ordered)):
            found[..., chosen] = distance(
                counts[..., chosen, :], fixed[..., chosen, :], share=share, size=size
            )
        return found


def columns_of(rows: Rows) -> list[Column]:
    """Return the features in model order, and the predictions last."""
    return [*rows.features.T, rows.predictions]
