"""Counts of several processes, added up."""

import json

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition, parser

from inference.workers.exposition import FleetCollector, WorkerCounts
from inference.workers.sums import Ledgers, Snapshot, snapshot_of


class _Process:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("ml_request_count", "Calls.", ["code"], registry=self.registry)
        self.seconds = Histogram(
            "ml_request_latency_seconds", "Time.", buckets=(0.1, 1.0), registry=self.registry
        )
        self.in_flight = Gauge("ml_requests_in_flight", "Now.", registry=self.registry)
        self.accuracy = Gauge("ml_model_accuracy", "Accuracy.", registry=self.registry)

    def snapshot(self) -> Snapshot:
        """As it arrives over the channel."""
        return list(json.loads(json.dumps(snapshot_of(self.registry))))


def _exposed(own: _Process, ledgers: Ledgers) -> CollectorRegistry:
    registry = CollectorRegistry()
    counts = [WorkerCounts(True, 0, 0)] * 2
    registry.register(FleetCollector(own.registry, ledgers, lambda: None, lambda: counts))
    return registry


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_counters_histograms_and_requests_in_flight_are_sums() -> None:
    """What processes count adds up; other gauges are those of the supervisor."""
    own, first, second = _Process(), _Process(), _Process()
    own.accuracy.set(0.9)
    first.accuracy.set(0.5)
    for process, calls in ((own, 1), (first, 2), (second, 4)):
        process.calls.labels("OK").inc(calls)
        process.seconds.observe(0.05)
        process.in_flight.set(calls)
    first.calls.labels("INTERNAL").inc()
    ledgers = Ledgers(2)
    ledgers.update(0, first.snapshot())
    ledgers.update(1, second.snapshot())
    shown = _exposed(own, ledgers)
    assert _value(shown, "ml_request_count_total", code="OK") == 7
    assert _value(shown, "ml_request_count_total", code="INTERNAL") == 1
    assert _value(shown, "ml_request_latency_seconds_bucket", le="0.1") == 3
    assert _value(shown, "ml_request_latency_seconds_count") == 3
    assert _value(shown, "ml_requests_in_flight") == 7
    assert _value(shown, "ml_model_accuracy") == 0.9
    assert _value(shown, "ml_worker_up", worker="1") == 1


def test_what_only_workers_count_is_shown_too() -> None:
    """A family that the supervisor does not have keeps its type and its words."""
    worker = CollectorRegistry()
    Counter("ml_only_there", "Only there.", registry=worker).inc(3)
    ledgers = Ledgers(1)
    ledgers.update(0, snapshot_of(worker))
    text = generate_latest(_exposed(_Process(), ledgers)).decode()
    assert "# HELP ml_only_there_total Only there.\n# TYPE ml_only_there_total counter" in text
    assert "ml_only_there_total 3.0" in text


def test_the_exposition_is_valid_openmetrics() -> None:
    """Buckets stay in order and exemplars survive, as a strict parser asks for."""
    own, worker = _Process(), _Process()
    worker.seconds.observe(0.05, {"request_id": "r"})
    worker.calls.labels("INTERNAL").inc()
    ledgers = Ledgers(1)
    ledgers.update(0, worker.snapshot())
    ledgers.fold(0)
    ledgers.update(0, worker.snapshot())
    text = exposition.generate_latest(_exposed(own, ledgers)).decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    buckets = [s for s in families["ml_request_latency_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets[0].value == 2
    assert buckets[0].exemplar.labels == {"request_id": "r"}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.integers(0, 1)), st.tuples(st.just("die"), st.integers(0, 1))
        ),
        max_size=40,
    )
)
def test_no_death_of_a_worker_takes_a_count_back(steps: list[tuple[str, int]]) -> None:
    """However calls and deaths follow each other, the sum is the number of calls that were reported."""
    own, ledgers, workers, calls = _Process(), Ledgers(2), [_Process(), _Process()], 0
    for step, worker in steps:
        if step == "count":
            workers[worker].calls.labels("OK").inc()
            workers[worker].in_flight.set(1)
            calls += 1
            ledgers.update(worker, workers[worker].snapshot())
        else:
            ledgers.fold(worker)
            workers[worker] = _Process()
    shown = _exposed(own, ledgers)
    assert (_value(shown, "ml_request_count_total", code="OK") or 0) == calls
    in_flight = sum(worker.snapshot()[2][3][0][2] for worker in workers)
    assert _value(shown, "ml_requests_in_flight") == in_flight
