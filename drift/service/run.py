"""What the history keeps of one evaluation: its numbers, and of each column one line.

A run is an evaluation without what only its own page needs (the distributions).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drift.accuracy.accuracy import Accuracy
from drift.alarm.verdict import SCOPES, Alarm
from drift.evaluation import Evaluation
from drift.statistics.column import ColumnDrift

__all__ = ["AlarmRun", "ColumnRun", "Run", "ScopeRun", "run_of"]

#: Digits that are kept: more than anyone reads, and half the room of all of them.
_SIGNIFICANT_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class ColumnRun:
    """One column in one run: as `ColumnDrift`, with the alarm's adjusted p-value, None where the alarm tests none."""

    name: str
    method: str
    statistic: float | None
    threshold: float | None
    drifted: bool
    severity: float | None
    psi: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class ScopeRun:
    """The alarm of one scope. `runs` counts the evaluations in a row that exceeded `level`, up to this one."""

    raised: bool
    p_value: float
    level: float
    runs: int

    @property
    def exceeded(self) -> bool:
        """Whether this evaluation speaks for a change, raised or not yet."""
        return self.p_value <= self.level


@dataclass(frozen=True, slots=True)
class AlarmRun:
    """The alarm in one run, by scope; a scope is raised after `runs_needed` evaluations in a row."""

    any: bool
    runs_needed: int
    scopes: Mapping[str, ScopeRun]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as `GET /api/history` answers it; fields as in `Evaluation`. Ids grow from run to run."""

    id: int
    evaluated_at: str
    outcome: str
    reason: str
    rows: int | None
    reference_rows: int
    rows_missing: int | None
    duration_seconds: float
    alarm: AlarmRun | None
    dataset_drift: bool | None
    drift_share: float | None
    estimated_accuracy: Accuracy | None
    realised_accuracy: Accuracy | None
    features: tuple[ColumnRun, ...]
    prediction: ColumnRun | None
    target: ColumnRun | None
    notes: tuple[str, ...] = ()

    @property
    def worst_severity(self) -> float:
        """The largest severity of any column, 0 without a verdict."""
        return max((column.severity or 0.0 for column in self.columns), default=0.0)

    @property
    def columns(self) -> tuple[ColumnRun, ...]:
        """Predictions and targets first, where there are any, then the features in model order."""
        return (*(column for column in (self.prediction, self.target) if column), *self.features)


def run_of(evaluation: Evaluation) -> Run:
    """Return the run of `evaluation`, with the id 0 until it is stored."""
    alarm = evaluation.alarm
    p_values = {} if alarm is None else dict(alarm.feature_p_values)
    tested = None if alarm is None else alarm.p_values["prediction"]
    prediction, target = evaluation.prediction, evaluation.target
    return Run(
        id=0,
        evaluated_at=evaluation.evaluated_at,
        outcome=str(evaluation.outcome),
        reason=evaluation.reason,
        rows=evaluation.rows,
        reference_rows=evaluation.reference_rows,
        rows_missing=evaluation.rows_missing,
        duration_seconds=evaluation.duration_seconds,
        alarm=_alarm(alarm),
        dataset_drift=evaluation.dataset_drift,
        drift_share=_rounded(evaluation.drift_share),
        estimated_accuracy=evaluation.estimated_accuracy,
        realised_accuracy=evaluation.realised_accuracy,
        features=tuple(_column(one, p_values.get(one.name)) for one in evaluation.features),
        prediction=None if prediction is None else _column(prediction, tested),
        target=None if target is None else _column(target, None),
        notes=evaluation.notes,
    )


def _column(column: ColumnDrift, p_value: float | None) -> ColumnRun:
    return ColumnRun(
        name=column.name,
        method=column.method,
        statistic=_rounded(column.statistic),
        threshold=column.threshold,
        drifted=column.drifted,
        severity=_rounded(column.severity),
        psi=_rounded(column.psi),
        p_value=_rounded(p_value),
    )


def _alarm(alarm: Alarm | None) -> AlarmRun | None:
    if alarm is None:
        return None
    scopes = {
        scope: ScopeRun(
            raised=getattr(alarm, scope),
            p_value=alarm.p_values[scope],
            level=alarm.levels[scope],
            runs=alarm.runs[scope],
        )
        for scope in SCOPES
    }
    return AlarmRun(alarm.any, alarm.runs_needed, scopes)


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    rounded = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return rounded if math.isfinite(rounded) else None
