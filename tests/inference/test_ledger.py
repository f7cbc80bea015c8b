"""Every request is counted once, whatever counts it and whenever somebody scrapes."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from inference.ledger import LATENCY_BUCKETS, SERVER_FAULTS, Ledger, RequestKind
from inference.metrics import Metrics
from telemetry import render_metrics

SERVICE = "inference.v1.InferenceService"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def _all_samples(metrics: Metrics) -> list[Sample]:
    body, _ = render_metrics(metrics.registry, None)
    return [s for family in text_string_to_metric_families(body.decode()) for s in family.samples]


def _chosen(samples: list[Sample], name: str, **labels: str) -> list[float]:
    return [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]


def _samples(metrics: Metrics, name: str, **labels: str) -> list[float]:
    return _chosen(_all_samples(metrics), name, **labels)


def _opened() -> tuple[Metrics, Ledger, RequestKind]:
    metrics = Metrics("canary")
    return metrics, metrics.ledger, metrics.ledger.open(RequestKind("Predict", SERVICE))


def test_the_text_has_every_family_with_its_labels() -> None:
    """One request gives the ml_ and the grpc_ families, with track, status and method as the specification says."""
    metrics, ledger, kind = _opened()
    ledger.arrive(kind)
    ledger.record(kind, "OK", 0.0004, "r1")
    text = render_metrics(metrics.registry, None)[0].decode()
    rpc = f'grpc_method="Predict",grpc_service="{SERVICE}",grpc_type="UNARY"'
    for line in (
        "# TYPE ml_request_count_total counter",
        "# TYPE ml_request_latency_seconds histogram",
        'ml_request_count_total{code="OK",method="Predict",track="canary"} 1.0',
        'ml_request_errors_total{code="INTERNAL",method="Predict",track="canary"} 0.0',
        'ml_request_latency_seconds_bucket{le="0.0005",method="Predict",track="canary"} 1.0',
        'ml_request_latency_seconds_bucket{le="0.00025",method="Predict",track="canary"} 0.0',
        'ml_request_latency_seconds_sum{method="Predict",track="canary"} 0.0004',
        f"grpc_server_started_total{{{rpc}}} 1.0",
        f'grpc_server_handled_total{{grpc_code="OK",{rpc}}} 1.0',
        f"grpc_server_handling_seconds_count{{{rpc}}} 1.0",
    ):
        assert line in text.splitlines(), line


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["OK", "INVALID_ARGUMENT", *sorted(SERVER_FAULTS)]),
            st.floats(0, 20) | st.sampled_from(LATENCY_BUCKETS),
        ),
        max_size=60,
    )
)
def test_sums_and_buckets_are_exact(requests: list[tuple[str, float]]) -> None:
    """Each bucket holds the requests at or below its bound, and count and sum are those of all."""
    metrics, ledger, kind = _opened()
    for code, seconds in requests:
        ledger.arrive(kind)
        ledger.record(kind, code, seconds)
    samples = _all_samples(metrics)
    for code in ("OK", "INVALID_ARGUMENT", *SERVER_FAULTS):
        counted = _chosen(samples, "ml_request_count_total", code=code)
        assert sum(counted) == sum(each == code for each, _ in requests)
    faults = sum(code in SERVER_FAULTS for code, _ in requests)
    assert sum(_chosen(samples, "ml_request_errors_total")) == faults
    for family in ("ml_request_latency_seconds", "grpc_server_handling_seconds"):
        for bound in LATENCY_BUCKETS:
            (counted,) = _chosen(samples, f"{family}_bucket", le=str(bound))
            assert counted == sum(seconds <= bound for _, seconds in requests)
        assert _chosen(samples, f"{family}_bucket", le="+Inf") == [len(requests)]
        (total,) = _chosen(samples, f"{family}_sum")
        assert total == pytest.approx(sum(seconds for _, seconds in requests))


def test_nothing_is_lost_under_threads_and_scrapes() -> None:
    """Eight threads that record while two others scrape: every request once, and no scrape sees a count fall."""
    metrics, ledger, kind = _opened()
    over_http = metrics.http_kind("Predict")
    done = threading.Event()
    falls: list[tuple[float, float]] = []

    def record() -> None:
        for _ in range(3000):
            ledger.arrive(kind)
            ledger.record(kind, "OK", 0.5)
            ledger.record(over_http, "OK", 0.25)

    def scrape() -> None:
        seen = 0.0
        while not done.is_set():
            (now,) = _samples(metrics, "ml_request_count_total", code="OK")
            if now < seen:
                falls.append((seen, now))
            seen = now

    recorders = [threading.Thread(target=record) for _ in range(8)]
    scrapers = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in (*recorders, *scrapers):
        thread.start()
    for thread in recorders:
        thread.join()
    done.set()
    for thread in scrapers:
        thread.join()
    assert not falls
    assert _samples(metrics, "ml_request_count_total", code="OK") == [48_000]
    assert _samples(metrics, "ml_request_latency_seconds_sum") == [24_000 * 0.75]
    assert _samples(metrics, "grpc_server_started_total", grpc_method="Predict") == [24_000]
    assert _samples(metrics, "grpc_server_handled_total", grpc_method="Predict", grpc_code="OK") == [24_000]


def test_grpc_and_http_are_one_method() -> None:
    """The ml_ metrics add a method up over its transports; the grpc_ ones count gRPC alone."""
    metrics, ledger, kind = _opened()
    assert metrics.http_kind("Predict") is metrics.http_kind("Predict")
    ledger.record(kind, "OK", 0.001)
    ledger.record(metrics.http_kind("Predict"), "OK", 0.3)
    ledger.record(metrics.http_kind("Predict"), "INTERNAL", 0.3)
    assert _samples(metrics, "ml_request_count_total", method="Predict", code="OK") == [2]
    assert _samples(metrics, "ml_request_errors_total", method="Predict", code="INTERNAL") == [1]
    assert _samples(metrics, "ml_request_latency_seconds_count", method="Predict") == [3]
    assert _samples(metrics, "grpc_server_handled_total", grpc_method="Predict", grpc_code="OK") == [1]


def test_streams_are_no_requests() -> None:
    """A stream counts among the grpc_ metrics and not among the ml_ ones, whose latency it would spoil."""
    metrics, ledger, _ = _opened()
    stream = ledger.open(RequestKind("Stream", SERVICE, "BIDI_STREAMING"))
    ledger.record(stream, "OK", 600)
    assert _samples(metrics, "ml_request_count_total", method="Stream") == []
    assert _samples(metrics, "grpc_server_handled_total", grpc_method="Stream", grpc_code="OK") == [1]


def test_entries_settle_by_themselves() -> None:
    """Without anybody who scrapes, entries do not pile up."""
    metrics, ledger, kind = _opened()
    for _ in range(5000):
        ledger.record(kind, "OK", 0.001)
    assert len(ledger._entries) <= 1024
    assert _samples(metrics, "ml_request_count_total", code="OK") == [5000]


def test_buckets_have_the_latest_request_as_exemplar() -> None:
    """In OpenMetrics each bucket names a request that fell into it; the classic text knows no exemplars."""
    metrics, ledger, kind = _opened()
    for request_id, seconds in (("old", 0.0006), ("new", 0.0007), ("slow", 4.0)):
        ledger.record(kind, "OK", seconds, request_id)
    text = render_metrics(metrics.registry, OPENMETRICS)[0].decode()
    found = {
        line.split('le="')[1].split('"')[0]: line.split(" # ")[1].split(" ")[:2]
        for line in text.splitlines()
        if line.startswith("ml_request_latency_seconds_bucket") and " # " in line
    }
    assert found == {
        "0.00075": ['{request_id="new"}', "0.0007"],
        "5.0": ['{request_id="slow"}', "4.0"],
    }
    assert " # " not in render_metrics(metrics.registry, None)[0].decode().replace("# HELP", "").replace(
        "# TYPE", ""
    )


# No identifier has a quote in it, and prometheus_client's own parser stumbles over one that is escaped.
@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_characters='"'), max_size=300))
def test_no_request_id_breaks_the_text(request_id: str) -> None:
    """Exemplars have at most 128 characters, and whatever an identifier says the text can be read."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    metrics, ledger, kind = _opened()
    ledger.record(kind, "OK", 0.001, request_id)
    text = render_metrics(metrics.registry, OPENMETRICS)[0].decode()
    assert text.endswith("# EOF\n")
    assert {family.name for family in parse(text)} >= {"ml_request_latency_seconds"}


def test_a_ledger_without_requests_is_complete() -> None:
    """Before the first request the families are there, with nothing of a method that nobody opened."""
    metrics = Metrics("stable")
    assert _samples(metrics, "ml_request_count_total") == []
    text = render_metrics(metrics.registry, None)[0].decode()
    for family in (
        "ml_request_count",
        "ml_request_errors",
        "ml_request_latency_seconds",
        "grpc_server_handled",
    ):
        assert f"# TYPE {family}" in text
