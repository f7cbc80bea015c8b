"""Every answered request, counted in batches.

A request leaves one entry in a queue. Entries are added up when somebody scrapes, or when a thousand wait: an
increment under a lock for each counter and a search among histogram buckets for each request would cost more
than the rest of our own work on it.

The families are `ml_request_count_total`, `ml_request_errors_total` and `ml_request_latency_seconds`, and for
gRPC those of go-grpc-prometheus. py-grpc-prometheus counts the methods of health and reflection, on a registry of
its own; both go into one family here, since one exposition may have a family only once.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

__all__ = ["LATENCY_BUCKETS", "Ledger", "RequestKind"]

#: Seconds. A one-row call takes about 0.3 ms in the server, so the first buckets are that fine.
LATENCY_BUCKETS: Final = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: gRPC status names that HTTP would call 5xx: the server's fault, or it is overwhelmed or not there.
SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
#: Entries that wait before whoever adds the next one adds them up.
_BATCH: Final = 1024
_BOUNDS: Final = np.array(LATENCY_BUCKETS)
_BUCKET_LABELS: Final = (*(str(bound) for bound in LATENCY_BUCKETS), "+Inf")


class _Bucket(NamedTuple):
    bound: str
    total: float
    exemplar: Exemplar | None


class RequestKind:
    """One method as asked over one transport, with what was counted of it so far."""

    def __init__(self, method: str, service: str = "", grpc_type: str = "UNARY") -> None:
        #: The `method` label of the `ml_*` metrics.
        self.method: Final = method
        #: Full name of the gRPC service; empty for HTTP.
        self.service: Final = service
        self.grpc_type: Final = grpc_type
        self._started = 0
        self._codes: Counter[str] = Counter()
        self._buckets: NDArray[np.int64] = np.zeros(len(_BUCKET_LABELS), np.int64)
        self._seconds = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def add(self, entries: "list[_Entry]") -> None:
        """Add up what was recorded."""
        handled = [*filter(_code_of, entries)]
        self._started += len(entries) - len(handled)
        if not handled:
            return
        self._codes.update(map(_code_of, handled))
        seconds = np.fromiter(map(_seconds_of, handled), np.float64, len(handled))
        places = np.searchsorted(_BOUNDS, seconds)
        self._buckets += np.bincount(places, minlength=len(_BUCKET_LABELS))
        self._seconds += float(seconds.sum())
        now = time.time()
        for place, (_, _, took, request_id) in dict(zip(places.tolist(), handled, strict=True)).items():
            self._exemplars[place] = Exemplar({"request_id": request_id[:100]}, took, now)

    @property
    def started(self) -> int:
        """Requests that arrived."""
        return self._started

    @property
    def codes(self) -> Counter[str]:
        """Requests answered, by the name of their gRPC status."""
        return self._codes

    def merge(self, other: "RequestKind") -> None:
        """Add what `other` counted."""
        self._codes.update(other._codes)
        self._buckets += other._buckets
        self._seconds += other._seconds
        self._exemplars.update(other._exemplars)

    def histogram(self) -> tuple[list[_Bucket], float]:
        """Return cumulative buckets with exemplars, and the sum in seconds."""
        counts = np.cumsum(self._buckets).tolist()
        buckets = [
            _Bucket(label, float(count), self._exemplars.get(place))
            for place, (label, count) in enumerate(zip(_BUCKET_LABELS, counts, strict=True))
        ]
        return buckets, self._seconds


#: What a request leaves: its kind, the name of its status (empty for an arrival), seconds, and its id. A plain tuple,
#: since making one with names takes four times as long, twice for each request.
_Entry = tuple[RequestKind, str, float, str]
_code_of: Final = itemgetter(1)
_seconds_of: Final = itemgetter(2)


class Ledger(Collector):
    """Takes entries from any thread and gives metric families to scrapes.

    `side` is the registry of py-grpc-prometheus.
    """

    def __init__(self, track: str, side: CollectorRegistry) -> None:
        self._track = track
        self._side = side
        self._entries: deque[_Entry] = deque()
        self._lock = threading.Lock()
        self._kinds: list[RequestKind] = []

    def open(self, kind: RequestKind) -> RequestKind:
        """Count this kind of request from now on."""
        self._kinds.append(kind)
        return kind

    def arrive(self, kind: RequestKind) -> None:
        """Count a request that arrived."""
        self._entries.append((kind, "", 0.0, ""))

    def record(self, kind: RequestKind, code: str, seconds: float, request_id: str = "") -> None:
        """Count an answered request; `code` is the name of its gRPC status."""
        self._entries.append((kind, code, seconds, request_id))
        if len(self._entries) >= _BATCH and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        by_kind: dict[RequestKind, list[_Entry]] = {kind: [] for kind in self._kinds}
        for _ in range(len(self._entries)):
            entry = self._entries.popleft()
            by_kind[entry[0]].append(entry)
        for kind, entries in by_kind.items():
            if entries:
                kind.add(entries)

    def collect(self) -> Iterator[Metric]:
        """Give every family."""
        with self._lock:
            self._settle()
            yield from self._ml_families()
            yield from self._grpc_families()

    def _ml_families(self) -> Iterator[Metric]:
        labels = ["method", "code", "track"]
        requests = CounterMetricFamily("ml_request_count", "Requests answered, by status.", labels=labels)
        errors = CounterMetricFamily(
            "ml_request_errors",
            "Requests that the server failed: codes that HTTP would call 5xx.",
            labels=labels,
        )
        latency = HistogramMetricFamily(
            "ml_request_latency_seconds",
            "Time from a request's arrival to its answer, waiting for a thread included.",
            labels=["method", "track"],
        )
        for method, kind in self._by_method().items():
            # A series that appears with its first error hides that error from rate(), so errors start at 0.
            for code in sorted({"OK", *SERVER_FAULTS, *kind.codes}):
                requests.add_metric([method, code, self._track], kind.codes[code])
                if code in SERVER_FAULTS:
                    errors.add_metric([method, code, self._track], kind.codes[code])
            buckets, seconds = kind.histogram()
            shown = [tuple(bucket) if bucket.exemplar else tuple(bucket[:2]) for bucket in buckets]
            latency.add_metric([method, self._track], shown, seconds)  # type: ignore[arg-type]  # pairs or triples
        yield from (requests, errors, latency)

    def _by_method(self) -> dict[str, RequestKind]:
        """Add up kinds that differ in transport alone; streams are no requests."""
        found: dict[str, RequestKind] = {}
        for kind in self._kinds:
            if kind.grpc_type == "UNARY":
                found.setdefault(kind.method, RequestKind(kind.method)).merge(kind)
        return found

    def _grpc_families(self) -> Iterator[Metric]:
        families = {family.name: family for family in self._side.collect()}
        started = families["grpc_server_started"]
        handled = families["grpc_server_handled"]
        received, sent = families["grpc_server_msg_received"], families["grpc_server_msg_sent"]
        histogram = families["grpc_server_handling_seconds"]
        for kind in self._kinds:
            if not kind.service:
                continue
            labels = {
                "grpc_type": kind.grpc_type,
                "grpc_service": kind.service,
                "grpc_method": kind.method,
            }
            started.add_sample("grpc_server_started_total", labels, kind.started)
            if kind.grpc_type == "UNARY":
                received.add_sample("grpc_server_msg_received_total", labels, sum(kind.codes.values()))
                sent.add_sample("grpc_server_msg_sent_total", labels, kind.codes["OK"])
            for code in sorted({"OK", *kind.codes}):
                handled.add_sample(
                    "grpc_server_handled_total", {**labels, "grpc_code": code}, kind.codes[code]
                )
            buckets, seconds = kind.histogram()
            for bound, count, exemplar in buckets:
                name = "grpc_server_handling_seconds_bucket"
                histogram.add_sample(name, {**labels, "le": bound}, count, exemplar=exemplar)
            histogram.add_sample("grpc_server_handling_seconds_count", labels, buckets[-1].total)
            histogram.add_sample("grpc_server_handling_seconds_sum", labels, seconds)
        yield from (started, handled, received, sent, histogram)
