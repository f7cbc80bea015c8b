"""What Prometheus scrapes of the relay."""

import enum
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["EventOutcome", "RelayMetrics", "TriggerOutcome"]


class EventOutcome(enum.StrEnum):
    """What became of a request to the webhook."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    UNSIGNED = "unsigned"
    STALE = "stale"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_TYPE = "wrong_type"
    ABANDONED = "abandoned"
    UNAVAILABLE = "unavailable"


class TriggerOutcome(enum.StrEnum):
    """What became of an attempt to trigger a rollout."""

    DONE = "done"
    DECLINED = "declined"
    RETRIED = "retried"
    FAILED = "failed"


class RelayMetrics:
    """The metrics of one relay, in a registry of their own."""

    def __init__(self, pending: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._events = self._counter(
            "relay_events", "Requests to the webhook, by what became of them.", EventOutcome
        )
        self._triggers = self._counter(
            "relay_triggers", "Attempts to trigger a rollout, by outcome.", TriggerOutcome
        )
        self._found = Counter(
            "relay_reconciled",
            "Deployments that polling found and no webhook had told of.",
            registry=self.registry,
        )
        self._failures = Counter(
            "relay_reconcile_failures", "Looks at the registry that failed.", registry=self.registry
        )
        self._last = Gauge(
            "relay_last_reconcile_timestamp_seconds",
            "When the aliases were last looked at with success; 0 before the first time.",
            registry=self.registry,
        )
        Gauge("relay_pending", "Deployments that wait or run.", registry=self.registry).set_function(pending)

    def event(self, outcome: EventOutcome) -> None:
        """Count a request."""
        self._events.labels(outcome).inc()

    def trigger(self, outcome: TriggerOutcome) -> None:
        """Count an attempt."""
        self._triggers.labels(outcome).inc()

    def reconciled(self, found: int) -> None:
        """Count what a look at the registry found, and note when it was."""
        self._found.inc(found)
        self._last.set_to_current_time()

    def reconcile_failed(self) -> None:
        """Count a look that failed."""
        self._failures.inc()

    def _counter(self, name: str, text: str, outcomes: type[enum.StrEnum]) -> Counter:
        counter = Counter(name, text, ["outcome"], registry=self.registry)
        for outcome in outcomes:  # a rate needs the zero before the first event
            counter.labels(outcome)
        return counter
