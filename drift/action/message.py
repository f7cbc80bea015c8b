"""What a receiver is told of an alarm."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from drift.accuracy.accuracy import Accuracy
from drift.alarm.verdict import SCOPES, Alarm
from drift.evaluation import Evaluation

__all__ = ["Message", "build_content"]


@dataclass(frozen=True, slots=True)
class Message:
    """One call, under an id that stays the same through its attempts; `sent_at` is in seconds since 1970."""

    id: str
    alarm_id: str
    sent_at: float
    model: str | None
    version: str | None
    content: dict[str, Any]

    def body(self) -> dict[str, Any]:
        """Return all of it as a webhook gets it."""
        return {
            "event": "drift.alarm",
            "id": self.id,
            "alarm_id": self.alarm_id,
            "time": datetime.fromtimestamp(self.sent_at, UTC).isoformat(timespec="milliseconds"),
            "model": self.model,
            "version": self.version,
            **self.content,
        }


def build_content(evaluation: Evaluation, alarm: Alarm) -> dict[str, Any]:
    """Return what the evaluation found, as an object of JSON.

    `features` are those that spoke, each with its p-value adjusted for their number, the smallest first.
    """
    level = alarm.levels["features"]
    spoke = sorted((p_value, name) for name, p_value in alarm.feature_p_values.items() if p_value <= level)
    return {
        "evaluated_at": evaluation.evaluated_at,
        "rows": evaluation.rows,
        "reference_rows": evaluation.reference_rows,
        "scopes": [scope for scope in SCOPES if getattr(alarm, scope)],
        "p_values": dict(alarm.p_values),
        "levels": dict(alarm.levels),
        "runs": dict(alarm.runs),
        "runs_needed": alarm.runs_needed,
        "features": [{"name": name, "p_value": p_value} for p_value, name in spoke],
        "drift_share": evaluation.drift_share,
        "estimated_accuracy": _accuracy(evaluation.estimated_accuracy),
        "realised_accuracy": _accuracy(evaluation.realised_accuracy),
    }


def _accuracy(accuracy: Accuracy | None) -> dict[str, float] | None:
    return None if accuracy is None else asdict(accuracy)
