"""Which columns Evidently draws, and which methods it must be told."""

from dataclasses import dataclass
from typing import Any, Final

from drift.report.handover import Request
from drift.rows import Predictions
from drift.statistics import Comparison, Prepared
from drift.statistics.method import MAX_TESTED_ROWS
from drift.statistics.prepared import TARGET, Column

__all__ = ["MAX_DRAWN_FEATURES", "Plan", "Told"]

#: Evidently takes 0.1 s and 70 kB for each feature, on a page that a browser must still open.
MAX_DRAWN_FEATURES: Final = 100
#: Evidently raises for sides of different sizes (the first two), or takes gigabytes or minutes for thousands of rows.
NEVER_DRAWN: Final = frozenset({"fisher_exact", "g_test", "empirical_mmd", "TVD"})


@dataclass(frozen=True, slots=True)
class Told:
    """A method and a threshold, both None where Evidently's default is right."""

    method: str | None = None
    threshold: float | None = None


class Plan:
    """The columns with data, features in model order: at most so many, those with the largest severity.

    Evidently chooses each method by the rows that it gets, as we do. It is told one only where the settings chose
    it, and where missing values would make it choose another than we do. A chosen method that it cannot draw is
    left to its default, and not compared.
    """

    def __init__(self, request: Request, prepared: Prepared, comparison: Comparison) -> None:
        self.current: dict[str, Predictions] = {
            column.name: values for column, values in prepared.columns(request.current)
        }
        self.reference: dict[str, Predictions] = {
            column.name: values for column, values in prepared.columns(request.reference.rows)
        }
        drifts: dict[str, Any] = {
            drift.name: drift for drift in (*comparison.features, comparison.prediction)
        }
        if comparison.target is not None:
            drifts[TARGET] = comparison.target
        self._defined = {name for name, drift in drifts.items() if drift.statistic is not None}
        with_data = [column for column in prepared.features if self._has_data(column)]
        by_severity = sorted(with_data, key=lambda column: -(drifts[column.name].severity or 0.0))
        drawn = {column.name for column in by_severity[:MAX_DRAWN_FEATURES]}
        self.left_out: Final = len(with_data) - len(drawn)
        self.features: Final = [column for column in prepared.features if column.name in drawn]
        others = (prepared.prediction, prepared.target)
        self.others: Final = [column for column in others if column is not None and self._has_data(column)]
        self.told: Final = {
            column.name: self._tell(column, prepared.reference_rows) for column in self.columns
        }

    @property
    def columns(self) -> list[Column]:
        """All that is drawn."""
        return [*self.features, *self.others]

    @property
    def comparable(self) -> set[str]:
        """The columns that Evidently gives the method that we do."""
        return {
            column.name
            for column in self.columns
            if column.name in self._defined and (column.choice is None or self.told[column.name].method)
        }

    def _has_data(self, column: Column) -> bool:
        values = self.current.get(column.name)
        return values is not None and len(column.reference) > 0 and len(column.sample(values)) > 0

    def _tell(self, column: Column, reference_rows: int) -> Told:
        if column.choice is not None:
            method = column.choice.method.name
            drawable = column.name in self._defined and method not in NEVER_DRAWN
            return Told(method, column.choice.threshold) if drawable else Told()
        if reference_rows > MAX_TESTED_ROWS >= len(column.reference):
            sample = column.sample(self.current[column.name])
            return Told(column.method_for(sample, reference_rows).name)
        return Told()
