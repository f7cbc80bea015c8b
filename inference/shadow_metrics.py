"""What is counted of the shadow model."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.catalog import Slot
from inference.ledger import LATENCY_BUCKETS

__all__ = ["ShadowMetrics"]

#: What became of a request that was chosen: compared; the model raised; no room or time; no shadow that can take
#: its features.
OUTCOMES: Final = ("scored", "failed", "dropped", "skipped")
AGREEMENTS: Final = ("agree", "differ")
_INFO_LABELS: Final = ("model", "version", "digest", "runtime", "track")


class ShadowMetrics:
    """Counters of the shadow in `slot`, on the registry that /metrics renders."""

    def __init__(self, registry: CollectorRegistry, slot: Slot, *, track: str) -> None:
        requests = Counter(
            "ml_shadow_requests",
            "Requests chosen for the shadow model, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._outcomes = {outcome: requests.labels(outcome) for outcome in OUTCOMES}
        rows = Counter(
            "ml_shadow_rows",
            "Rows scored by both models, by whether they said the same.",
            ["agreement"],
            registry=registry,
        )
        self._agreements = {agreement: rows.labels(agreement) for agreement in AGREEMENTS}
        self._latency = Histogram(
            "ml_shadow_latency_seconds",
            "Time that the shadow model took to predict one request.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        registry.register(_Info(slot, track))

    def count(self, outcome: str, requests: int = 1) -> None:
        """Count requests that were not compared."""
        self._outcomes[outcome].inc(requests)

    def scored(self, seconds: float, *, agree: int, differ: int) -> None:
        """Count a request that was compared: rows on which the models agree and differ."""
        self._outcomes["scored"].inc()
        self._agreements["agree"].inc(agree)
        self._agreements["differ"].inc(differ)
        self._latency.observe(seconds)


class _Info(Collector):
    """`ml_shadow_model_info`, read off the slot when somebody scrapes."""

    def __init__(self, slot: Slot, track: str) -> None:
        self._slot = slot
        self._track = track

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "ml_shadow_model_info", "The model that is the shadow; always 1.", labels=_INFO_LABELS
        )
        model = self._slot.current
        if model is not None:
            info.add_metric(
                [model.name, model.version, model.digest, model.predictor.runtime, self._track], 1
            )
        yield info
