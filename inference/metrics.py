"""Every metric of the server, on one registry, with labels that no caller can choose.

Label children are bound where their values become known (at start, or once a generation): looking a child up
costs more than counting with it.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from inference.errors import OverloadError

__all__ = ["LATENCY_BUCKETS", "Metrics", "PredictionCounters"]

#: Seconds. A one-row call takes about 0.3 ms in the server, so the first buckets are that fine.
LATENCY_BUCKETS: Final = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: gRPC status names that HTTP would call 5xx: the server's fault, or it is overwhelmed or not there.
SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
METHODS: Final = ("Predict", "GetModel")
SWAP_OUTCOMES: Final = ("swapped", "unchanged", "failed", "rolled_back")
SHED_REASONS: Final = ("concurrency", "rows")
EVENT_OUTCOMES: Final = ("written", "dropped", "sampled_out", "failed")


class PredictionCounters:
    """`ml_predictions_total` of one generation, its children bound in class-index order."""

    def __init__(self, counter: Counter, classes: list[str]) -> None:
        # Regression has no labels to count by; an empty label value is Prometheus's word for none.
        self._children = [counter.labels(label) for label in classes or [""]]

    def count(self, class_index: NDArray[np.int64] | None, rows: int) -> None:
        """Count the outputs of one request."""
        if class_index is None:
            self._children[0].inc(rows)
        elif rows == 1:
            self._children[class_index[0]].inc()
        else:
            for index, found in enumerate(np.bincount(class_index, minlength=len(self._children)).tolist()):
                if found:
                    self._children[index].inc(found)


class Metrics:
    """What the server counts and measures; `registry` is what /metrics renders."""

    def __init__(self, track: str) -> None:
        self._track = track
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "ml_request_count",
            "Requests answered, by status.",
            ["method", "code", "track"],
            registry=registry,
        )
        self._errors = Counter(
            "ml_request_errors",
            "Requests that the server failed: codes that HTTP would call 5xx.",
            ["method", "code", "track"],
            registry=registry,
        )
        self._latency = Histogram(
            "ml_request_latency_seconds",
            "Time from a request's arrival to its answer, waiting for a thread included.",
            ["method", "track"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._predictions = Counter(
            "ml_predictions", "Outputs given, by class label of the model.", ["label"], registry=registry
        )
        self._add_model_metrics()
        self._add_traffic_metrics()
        self._bind_request_children()

    def _add_model_metrics(self) -> None:
        self._accuracy = Gauge(
            "ml_model_accuracy",
            "Accuracy of the serving model on held-out rows; NaN when unknown.",
            registry=self.registry,
        )
        self._accuracy.set(math.nan)  # 0, the default, would read as a bad model
        self._info_labels: tuple[str, ...] = ()
        self._info = Gauge(
            "ml_model_info",
            "The model that serves; always 1.",
            ["model", "version", "digest", "runtime", "track"],
            registry=self.registry,
        )
        self._generation = Gauge(
            "ml_model_generation", "How many times the server has switched models.", registry=self.registry
        )
        swaps = Counter(
            "ml_model_swaps", "Tries to switch models, by outcome.", ["outcome"], registry=self.registry
        )
        self._swaps = {outcome: swaps.labels(outcome) for outcome in SWAP_OUTCOMES}

    def _add_traffic_metrics(self) -> None:
        self._in_flight = Gauge(
            "ml_requests_in_flight", "Requests that wait or run now.", registry=self.registry
        )
        shed = Counter(
            "ml_requests_shed", "Requests refused for load, by reason.", ["reason"], registry=self.registry
        )
        self._shed = {reason: shed.labels(reason) for reason in SHED_REASONS}
        events = Counter(
            "ml_prediction_events",
            "Prediction events, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.events = {outcome: events.labels(outcome) for outcome in EVENT_OUTCOMES}

    def _bind_request_children(self) -> None:
        # A series that appears with its first error hides that error from rate(), so errors start at 0.
        for method in METHODS:
            for code in ("OK", *sorted(SERVER_FAULTS)):
                self._requests.labels(method, code, self._track)
                if code in SERVER_FAULTS:
                    self._errors.labels(method, code, self._track)
        self._latency_of = {method: self._latency.labels(method, self._track) for method in METHODS}
        self._ok_of = {method: self._requests.labels(method, "OK", self._track) for method in METHODS}

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count one answered request; `code` is the name of a gRPC status."""
        if code == "OK":
            self._ok_of[method].inc()
        else:
            self._requests.labels(method, code, self._track).inc()
            if code in SERVER_FAULTS:
                self._errors.labels(method, code, self._track).inc()
        self._latency_of[method].observe(seconds)

    def observe_failure(self, method: str, code: str, error: Exception, seconds: float) -> None:
        """Count one request that ended with `error`."""
        self.observe(method, code, seconds)
        if isinstance(error, OverloadError):
            self._shed[error.reason].inc()

    def swap(self, outcome: str) -> None:
        """Count one try to switch models."""
        self._swaps[outcome].inc()

    def count_in_flight(self, read: Callable[[], float]) -> None:
        """Let scrapes read the requests in flight by `read`."""
        self._in_flight.set_function(read)

    def prediction_counters(self, classes: list[str]) -> PredictionCounters:
        """Bind the counters of a generation to its class labels."""
        return PredictionCounters(self._predictions, classes)

    def describe_model(
        self, *, model: str, version: str, digest: str, runtime: str, generation: int, accuracy: float | None
    ) -> None:
        """Replace what the metrics say of the serving model."""
        labels = (model, version, digest, runtime, self._track)
        self._info.labels(*labels).set(1)
        if self._info_labels and self._info_labels != labels:
            self._info.remove(*self._info_labels)
        self._info_labels = labels
        self._generation.set(generation)
        self._accuracy.set(math.nan if accuracy is None else accuracy)
