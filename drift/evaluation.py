"""One evaluation: current rows against the reference, to one result."""

import enum
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from drift.accuracy.accuracy import Accuracy
from drift.alarm.permutation import Alarm, evaluate_alarm
from drift.report.evidently_report import run_report
from drift.rows import Reference, Rows
from drift.statistics.column import ColumnDrift, Distribution, PredictionDrift

__all__ = ["Evaluation", "Outcome", "evaluate", "failed"]


class Outcome(enum.StrEnum):
    """How an evaluation ended; the values of the label `outcome`."""

    OK = "ok"
    INSUFFICIENT_DATA = "insufficient_data"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one evaluation, as `POST /refresh` answers it.

    `reason` is a sentence, empty when the outcome is `ok`. Without that outcome there is no verdict: `alarm`,
    `dataset_drift`, `drift_share`, `prediction` and `target` are None, and `features` and `distributions` are
    empty. `rows` counts the current rows, None when they could not be read. `rows_missing` counts rows that the
    source has and could not give, None where nothing tells. `evaluated_at` is ISO 8601 in UTC.
    """

    outcome: Outcome
    reason: str
    rows: int | None
    reference_rows: int
    alarm: Alarm | None
    dataset_drift: bool | None
    drift_share: float | None
    features: tuple[ColumnDrift, ...]
    prediction: PredictionDrift | None
    evaluated_at: str
    duration_seconds: float
    target: ColumnDrift | None = None
    distributions: tuple[Distribution, ...] = ()
    estimated_accuracy: Accuracy | None = None
    realised_accuracy: Accuracy | None = None
    rows_missing: int | None = None


def evaluate(reference: Reference, current: Rows | None, *, min_rows: int) -> tuple[Evaluation, bytes | None]:
    """Return the result and, when there were rows enough, Evidently's page."""
    started = time.monotonic()
    count = 0 if current is None else len(current)
    if current is None or count < min_rows:
        reason = f"the window has {count} rows and {min_rows} are needed (DRIFT_MIN_ROWS)"
        return _without_verdict(Outcome.INSUFFICIENT_DATA, reason, count, reference, started), None
    alarm = evaluate_alarm(reference, current)
    report = run_report(reference, current)
    evaluation = Evaluation(
        outcome=Outcome.OK,
        reason="",
        rows=count,
        reference_rows=len(reference.rows),
        alarm=alarm,
        dataset_drift=report.dataset_drift,
        drift_share=report.drift_share,
        features=report.features,
        prediction=report.prediction,
        evaluated_at=_now(),
        duration_seconds=time.monotonic() - started,
    )
    return evaluation, report.html


def failed(reference: Reference, reason: str, started: float) -> Evaluation:
    """Return the result of an evaluation that began at `started` (monotonic seconds) and did not end well."""
    return _without_verdict(Outcome.ERROR, reason, None, reference, started)


def _without_verdict(
    outcome: Outcome, reason: str, rows: int | None, reference: Reference, started: float
) -> Evaluation:
    return Evaluation(
        outcome=outcome,
        reason=reason,
        rows=rows,
        reference_rows=len(reference.rows),
        alarm=None,
        dataset_drift=None,
        drift_share=None,
        features=(),
        prediction=None,
        evaluated_at=_now(),
        duration_seconds=time.monotonic() - started,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
