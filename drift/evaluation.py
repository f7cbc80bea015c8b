"""One evaluation: current rows against the reference, to one result."""

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from drift.accuracy.accuracy import Accuracy
from drift.accuracy.realised import realised
from drift.alarm.persistence import Persistence
from drift.alarm.verdict import Alarm
from drift.baseline import Baseline
from drift.current.event_filter import ServedModel
from drift.rows import Rows
from drift.statistics.column import ColumnDrift, Distribution
from drift.statistics.distribution import describe
from drift.statistics.kernel import compare

__all__ = ["Evaluation", "Outcome", "evaluate", "without_verdict"]


class Outcome(enum.StrEnum):
    """How an evaluation ended; the values of the label `outcome`."""

    OK = "ok"
    INSUFFICIENT_DATA = "insufficient_data"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one evaluation; `service.run` makes of it what the history keeps and `POST /refresh` answers.

    `reason` is a sentence, empty when the outcome is `ok`. Without that outcome there is no verdict: `alarm`,
    `dataset_drift`, `drift_share`, `prediction` and `target` are None, and `features` and `distributions` are
    empty. `rows` counts the current rows, None when they could not be read; `reference_rows` is 0 before a reference
    was read. `rows_missing` counts rows that the source has and could not give, None where nothing tells. `notes`
    are sentences about what went wrong without preventing a verdict; `models` are those that answered, as far as the
    source tells. `skipped` counts lines that were read and do not count, by reason. `evaluated_at` is ISO 8601 in UTC.
    """

    outcome: Outcome
    reason: str
    rows: int | None
    reference_rows: int
    alarm: Alarm | None
    dataset_drift: bool | None
    drift_share: float | None
    features: tuple[ColumnDrift, ...]
    prediction: ColumnDrift | None
    evaluated_at: str
    duration_seconds: float
    target: ColumnDrift | None = None
    distributions: tuple[Distribution, ...] = ()
    estimated_accuracy: Accuracy | None = None
    realised_accuracy: Accuracy | None = None
    rows_missing: int | None = None
    notes: tuple[str, ...] = ()
    models: tuple[ServedModel, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


def evaluate(
    baseline: Baseline, current: Rows | None, persistence: Persistence, *, min_rows: int
) -> Evaluation:
    """Return the result; `persistence` takes in what was found, when there were rows enough."""
    started = time.monotonic()
    reference_rows = len(baseline.reference.rows)
    count = 0 if current is None else len(current)
    if current is None or count < min_rows:
        reason = f"the window has {count} rows and {min_rows} are needed (DRIFT_MIN_ROWS)"
        return without_verdict(Outcome.INSUFFICIENT_DATA, reason, count, reference_rows)
    comparison = compare(baseline.prepared, current)
    alarm = persistence.update(baseline.calibration.test(current), current.identities())
    return Evaluation(
        outcome=Outcome.OK,
        reason="",
        rows=count,
        reference_rows=reference_rows,
        alarm=alarm,
        dataset_drift=comparison.dataset_drift,
        drift_share=comparison.drift_share,
        features=comparison.features,
        prediction=comparison.prediction,
        evaluated_at=_now(),
        duration_seconds=time.monotonic() - started,
        target=comparison.target,
        distributions=describe(baseline.prepared, current),
        estimated_accuracy=baseline.estimator.estimate(current) if baseline.estimator else None,
        realised_accuracy=realised(current),
    )


def without_verdict(outcome: Outcome, reason: str, rows: int | None, reference_rows: int) -> Evaluation:
    """Return the result of an evaluation that could not be made, and why."""
    return Evaluation(
        outcome=outcome,
        reason=reason,
        rows=rows,
        reference_rows=reference_rows,
        alarm=None,
        dataset_drift=None,
        drift_share=None,
        features=(),
        prediction=None,
        evaluated_at=_now(),
        duration_seconds=0.0,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
