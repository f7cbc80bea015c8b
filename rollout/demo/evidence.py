"""What the clients saw, second by second, and what the story's events say about it."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.events import Kind, RolloutEvent
from rollout.machine import Outcome

__all__ = ["DriftRecord", "Interval", "RolloutRecord", "StepSeen", "Traffic", "read_traffic", "total"]


@dataclass(frozen=True, slots=True)
class Interval:
    """One line of a traffic log: calls that ended in the interval before `at` (seconds since 1970)."""

    at: float
    versions: dict[str, int]
    failures: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls in a stretch of time, as the clients counted them."""

    sent: int
    failed: int
    versions: dict[str, int]

    def share(self, version: str) -> float:
        """Return the share of the answered calls that a version answered (0–1)."""
        answered = sum(self.versions.values())
        return self.versions.get(version, 0) / answered if answered else 0.0


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One step of a rollout: what was set, and the calls that Envoy split."""

    weight: int
    canary_calls: int
    stable_calls: int
    seconds: float

    @property
    def share(self) -> float:
        """The observed share of the canary (0–1)."""
        return self.canary_calls / max(1, self.canary_calls + self.stable_calls)


@dataclass(slots=True)
class RolloutRecord:
    """A rollout of the story: its events with their times, and how it ended."""

    title: str
    events: list[tuple[float, RolloutEvent]] = field(default_factory=list)
    outcome: Outcome | None = None

    def steps(self) -> list[StepSeen]:
        """Return the last look at each step."""
        last = {event.look.step: event.look for _, event in self.events if event.look}
        return [
            StepSeen(look.weight, look.canary.requests, look.stable.requests, look.seconds_in_step)
            for look in last.values()
        ]

    def span(self) -> tuple[float, float]:
        """Return when it began and ended (seconds since 1970)."""
        return self.events[0][0], self.events[-1][0]

    def milestones(self) -> list[tuple[float, RolloutEvent]]:
        """Return the events that a timeline shows."""
        return [(at, event) for at, event in self.events if event.kind is not Kind.LOOK]


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """What the drift monitor said about a stretch of traffic: the answer of its `/refresh`."""

    traffic: str
    began: float
    ended: float
    answer: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Return `alarm`, `quiet`, or how the evaluation ended without a verdict."""
        alarm = self.answer.get("alarm")
        if alarm is None:
            return str(self.answer.get("outcome"))
        return "alarm" if alarm["any"] else "quiet"

    @property
    def reason(self) -> str:
        """Return the figures behind the verdict."""
        alarm = self.answer.get("alarm")
        if alarm is None:
            return str(self.answer.get("reason"))
        values = ", ".join(f"{scope} {found['p_value']:.3g}" for scope, found in alarm["scopes"].items())
        rows, reference = self.answer["rows"], self.answer["reference_rows"]
        return f"{rows} rows against {reference} reference rows; p-values: {values}"


def read_traffic(logs: Iterable[Path]) -> list[Interval]:
    """Read traffic logs, oldest interval first; a line that is still being written is left out."""
    intervals = []
    for log in logs:
        if log.exists():
            lines = log.read_text(encoding="utf-8").splitlines()
            intervals += [Interval(**json.loads(line)) for line in lines if line.endswith("}")]
    return sorted(intervals, key=lambda interval: interval.at)


def total(intervals: Iterable[Interval], began: float = 0.0, ended: float = float("inf")) -> Traffic:
    """Add up the intervals that ended between two times."""
    versions: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for interval in intervals:
        if began <= interval.at <= ended:
            versions.update(interval.versions)
            failures.update(interval.failures)
    failed = failures.total()
    return Traffic(versions.total() + failed, failed, dict(versions))
