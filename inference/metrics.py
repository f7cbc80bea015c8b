"""Every metric of the server, on one registry, with labels that no caller can choose.

Label children are bound where their values become known (at start, or once a generation): looking a child up
costs more than counting with it.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

from inference.errors import AbandonedError, DeadlineError, OverloadError
from inference.ledger import Ledger, RequestKind

__all__ = ["Metrics", "ModelLabels", "PredictionCounters"]

SWAP_OUTCOMES: Final = ("swapped", "unchanged", "failed", "rolled_back", "unloaded")
#: Why a request was not started: too many wait; more rows, or bytes of bodies and unread answers, than are
#: taken; its caller guessed tokens; its deadline cannot be met; its caller has gone.
SHED_REASONS: Final = ("concurrency", "rows", "bytes", "tokens", "deadline", "abandoned")
EVENT_OUTCOMES: Final = ("written", "dropped", "sampled_out", "failed")


class ModelLabels(NamedTuple):
    """A serving model, as the labels of `ml_model_info`."""

    model: str
    version: str
    digest: str
    runtime: str


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
    """What this process counts and measures, in `registry`; /metrics renders `exposed`."""

    def __init__(self, track: str) -> None:
        self._track = track
        self.registry = registry = CollectorRegistry()
        #: The same, unless other processes count too.
        self.exposed = registry
        ProcessCollector(registry=registry)
        # Counts the gRPC methods whose speed does not matter; the ledger shows its figures with its own.
        side = CollectorRegistry()
        self.grpc_counting: Final = PromServerInterceptor(enable_handling_time_histogram=True, registry=side)
        self.ledger: Final = Ledger(track, side)
        registry.register(self.ledger)
        self._predictions = Counter(
            "ml_predictions", "Outputs given, by class label of the model.", ["label"], registry=registry
        )
        self._add_model_metrics()
        self._add_traffic_metrics()
        self._http_kinds: dict[str, RequestKind] = {}

    def _add_model_metrics(self) -> None:
        self._accuracy = Gauge(
            "ml_model_accuracy",
            "Accuracy of the default model on held-out rows; NaN when unknown.",
            registry=self.registry,
        )
        self._accuracy.set(math.nan)  # 0, the default, would read as a bad model
        self._described: set[tuple[str, ...]] = set()
        self._info = Gauge(
            "ml_model_info",
            "A model that serves; always 1.",
            ["model", "version", "digest", "runtime", "track"],
            registry=self.registry,
        )
        self._generation = Gauge(
            "ml_model_generation",
            "How many times the server has switched the default model.",
            registry=self.registry,
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

    def http_kind(self, method: str) -> RequestKind:
        """Return what counts requests for `method` that come over HTTP."""
        kind = self._http_kinds.get(method)
        if kind is None:
            kind = self._http_kinds[method] = self.ledger.open(RequestKind(method))
        return kind

    def shed_by(self, error: Exception) -> None:
        """Count a request that was not started, if `error` says that it was not."""
        if isinstance(error, OverloadError):
            self._shed[error.reason].inc()
        elif isinstance(error, DeadlineError):
            self._shed["deadline"].inc()
        elif isinstance(error, AbandonedError):
            self._shed["abandoned"].inc()

    def swap(self, outcome: str) -> None:
        """Count one try to switch models."""
        self._swaps[outcome].inc()

    def count_in_flight(self, read: Callable[[], float]) -> None:
        """Let scrapes read the requests in flight by `read`."""
        self._in_flight.set_function(read)

    def prediction_counters(self, classes: list[str]) -> PredictionCounters:
        """Bind the counters of a generation to its class labels."""
        return PredictionCounters(self._predictions, classes)

    def describe_models(
        self, models: Iterable[ModelLabels], *, generation: int, accuracy: float | None
    ) -> None:
        """Replace what the metrics say of the models that serve.

        `generation` and `accuracy` are those of the default model.
        """
        wanted: set[tuple[str, ...]] = {(*labels, self._track) for labels in models}
        for labels in wanted:
            self._info.labels(*labels).set(1)
        for labels in self._described - wanted:
            self._info.remove(*labels)
        self._described = wanted
        self._generation.set(generation)
        self._accuracy.set(math.nan if accuracy is None else accuracy)
