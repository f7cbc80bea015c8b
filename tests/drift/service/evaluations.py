"""Evaluations as the monitor makes them, for the history and the page: plausible numbers, whatever the machine."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from drift.accuracy.accuracy import Accuracy
from drift.alarm.verdict import SCOPES, Alarm
from drift.evaluation import Evaluation, Outcome
from drift.monitor import Health, Status
from drift.statistics.column import ColumnDrift, Distribution

#: When the evaluations begin: any moment.
BEGIN = 1_795_500_000.0
LEVELS = dict.fromkeys(SCOPES, 0.0033)


def iso(seconds: float) -> str:
    """Write a moment as evaluations do."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def alarm(names: Sequence[str], *, raised: bool = False, runs: int = 0) -> Alarm:
    """An alarm of the features, whose first one changed, or none."""
    p_values = dict.fromkeys(SCOPES, 0.4) | ({"features": 0.001} if raised or runs else {})
    of_features = dict.fromkeys(names, 0.7) | ({names[0]: 0.001} if raised or runs else {})
    counts = dict.fromkeys(SCOPES, 0) | {"features": 3 if raised else runs}
    return Alarm(raised, False, False, raised, p_values, of_features, LEVELS, counts, runs_needed=3)


def verdict(
    at: float = BEGIN,
    *,
    names: Sequence[str] = ("feature_0", "feature_1"),
    bins: Sequence[str] = ("a", "b"),
    raised: bool = False,
    runs: int = 0,
    severity: float = 0.5,
) -> Evaluation:
    """An evaluation that reached a verdict; `severity` is that of the first feature, 0.5 that of the others."""
    share = 1 / len(bins)
    spread = tuple(share for _ in bins)
    columns = tuple(
        ColumnDrift(name, "Wasserstein distance (normed)", each / 10, 0.1, each >= 1, each, 0.004)
        for name, each in zip(names, [severity, *[0.5] * (len(names) - 1)], strict=True)
    )
    return Evaluation(
        outcome=Outcome.OK,
        reason="",
        rows=200,
        reference_rows=5000,
        alarm=alarm(names, raised=raised, runs=runs),
        dataset_drift=False,
        drift_share=0.0,
        features=columns,
        prediction=ColumnDrift("prediction", "Jensen-Shannon distance", 0.02, 0.1, False, 0.2, 0.012),
        evaluated_at=iso(at),
        duration_seconds=0.04,
        distributions=tuple(
            Distribution(name, tuple(bins), spread, spread, 0.0, 0.0) for name in (*names, "prediction")
        ),
        estimated_accuracy=Accuracy(0.93, 0.9, 0.96, 200),
        rows_missing=0,
    )


def without_verdict(
    at: float, outcome: Outcome = Outcome.ERROR, reason: str = "the log is gone"
) -> Evaluation:
    """An evaluation that failed, or had too few rows."""
    return replace(
        verdict(at),
        outcome=outcome,
        reason=reason,
        rows=None,
        alarm=None,
        dataset_drift=None,
        drift_share=None,
        features=(),
        prediction=None,
        distributions=(),
        estimated_accuracy=None,
        rows_missing=None,
    )


def health_of(last: Evaluation, reached: Evaluation | None) -> Health:
    """What the monitor says after the evaluation `last`, when `reached` was its last verdict."""
    status = {
        Outcome.OK: Status.OK,
        Outcome.INSUFFICIENT_DATA: Status.WAITING_FOR_DATA,
        Outcome.ERROR: Status.FAILING,
    }[last.outcome]
    return Health(
        status=status,
        reason=last.reason,
        since=last.evaluated_at,
        notes=last.notes,
        last_run=reached.evaluated_at if reached else None,
        last_outcome=last.outcome,
        evaluating=False,
        current_rows=last.rows,
        reference_rows=last.reference_rows,
    )
