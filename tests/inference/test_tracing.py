"""Traces, as a real collector receives them."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from inference.tracing.sampling import SAMPLERS, Parent, parent_of, sampling_of
from protos.inference.v1.inference_pb2 import PredictRequest, Row
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.inference.server_process import server_environment

REQUEST = PredictRequest(rows=[Row(values=[5.1, 3.5, 1.4, 0.2]), Row(values=[6, 3, 5, 2])])
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Receives OTLP over HTTP, as `otelcol` does at /v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # how http.server names it
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.hold.wait(30)
                if self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(of: Span | Resource) -> dict[str, Any]:
    """Attributes of a span or resource as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    yield collector
    collector.close()


class Traced:
    """A server process that exports its traces, and stubs for it."""

    def __init__(self, process: object) -> None:
        self.process = process
        ports = process.wait_for("listening")
        process.wait_for("serving")
        self.http_address = f"http://127.0.0.1:{ports['http_port']}"
        self.channel = grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}")
        self.stub = InferenceServiceStub(self.channel)

    def end(self) -> int:
        """Stop the server, which hands on every span first."""
        self.channel.close()
        self.process.popen.terminate()
        code: int = self.process.end()
        return code


@pytest.fixture
def trace(make_process: Callable[..., object], collector: Collector) -> Callable[..., Traced]:
    """Start a server that exports to the collector; options are environment variables."""

    def start(**variables: object) -> Traced:
        common = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
        return Traced(make_process(**{**common, **variables}))

    return start


@pytest.mark.slow
def test_a_request_belongs_to_the_trace_of_its_caller(
    trace: Callable[..., Traced], collector: Collector
) -> None:
    """Over gRPC and HTTP the span has the caller's trace and parent, and says method, model, rows and outcome."""
    server = trace(OTEL_SERVICE_NAME="scorer", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    parent = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=7", "x-request-id": "r1"}
    response = server.stub.Predict(REQUEST, metadata=tuple(parent.items()))
    reply = httpx.post(f"{server.http_address}/predict", json={"rows": [[1, 2, 3, 4]]}, headers=parent)
    with pytest.raises(grpc.RpcError):
        server.stub.Predict(PredictRequest(), metadata=tuple(parent.items()))
    httpx.post(f"{server.http_address}/predict", content=b"{", headers=parent)
    assert server.end() == 0

    good, bad = collector.named("inference.v1.InferenceService/Predict")
    for span in (good, bad, *collector.named("POST /predict")):
        assert span.trace_id.hex() == TRACE_ID
        assert span.parent_span_id.hex() == SPAN_ID
        assert span.trace_state == "vendor=7"
        assert span.kind == Span.SPAN_KIND_SERVER
        assert (
            span.status.code == Status.STATUS_CODE_UNSET
        )  # the caller's mistakes are no errors of the server
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 5e9
    found = attributes(good)
    assert {name: found[name] for name in found if not name.startswith("coalmine.model.digest")} == {
        "rpc.system": "grpc",
        "rpc.service": "inference.v1.InferenceService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
        "coalmine.request_id": "r1",
        "coalmine.model.name": "iris",
        "coalmine.model.version": "local",
        "coalmine.rows": 2,
        "coalmine.event_id": response.event_id,
    }
    assert found["coalmine.model.digest"] == response.model_digest
    assert attributes(bad)["rpc.grpc.status_code"] == 3
    assert attributes(bad)["error.type"] == "INVALID_ARGUMENT"
    assert "coalmine.event_id" not in attributes(bad)
    http_good, http_bad = map(attributes, collector.named("POST /predict"))
    assert (http_good["http.request.method"], http_good["http.route"]) == ("POST", "/predict")
    assert (http_good["http.response.status_code"], http_bad["http.response.status_code"]) == (200, 400)
    assert http_good["coalmine.event_id"] == reply.json()["event_id"]
    assert collector.resources[0]["service.name"] == "scorer"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.resources[0]["coalmine.track"] == "stable"


@pytest.mark.slow
def test_a_swap_is_a_trace_of_its_steps(trace: Callable[..., Traced], collector: Collector) -> None:
    """The load at start is a span with children fetch, prepare and commit, also when no request is sampled."""
    assert trace(OTEL_TRACES_SAMPLER="always_off").end() == 0
    (swap,) = collector.named("model swap")
    assert attributes(swap)["coalmine.model_uri"] == "local"
    assert not swap.parent_span_id
    children = [span for span in collector.spans if span.parent_span_id == swap.span_id]
    assert sorted(span.name for span in children) == ["commit", "fetch", "prepare"]
    assert {span.trace_id for span in children} == {swap.trace_id}
    assert attributes(collector.named("prepare")[0])["coalmine.version"] == "local"
    assert collector.resources[0]["service.name"] == "coalmine-inference"


@pytest.mark.slow
def test_workers_export_what_they_answer(trace: Callable[..., Traced], collector: Collector) -> None:
    """With several processes on the port each hands on its own spans, the last ones when it stops."""
    server = trace(SERVER_WORKERS=2)
    for _ in range(10):
        server.stub.Predict(REQUEST)
    assert server.end() == 0
    assert len(collector.named("inference.v1.InferenceService/Predict")) == 10
    answered = {resource["process.pid"] for resource in collector.resources}
    assert len(answered - {server.process.popen.pid}) in (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "argument", "flags", "expected"),
    [
        ("parentbased_always_on", "", ("01", "00", None), (1, 0, 1)),
        ("parentbased_traceidratio", "0", ("01", "00", None), (1, 0, 0)),
        ("traceidratio", "1", ("01", "00", None), (1, 1, 1)),
        ("always_off", "", ("01", "00", None), (0, 0, 0)),
    ],
)
def test_the_sampler_decides(
    trace: Callable[..., Traced],
    collector: Collector,
    sampler: str,
    argument: str,
    flags: tuple[str | None, ...],
    expected: tuple[int, ...],
) -> None:
    """The caller's flag counts first where the sampler is parent based; else the ratio decides."""
    server = trace(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    for number, flag in enumerate(flags):
        headers = [("x-request-id", f"r{number}")]
        if flag is not None:
            headers.append(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-{flag}"))
        server.stub.Predict(REQUEST, metadata=headers)
    assert server.end() == 0
    seen = [
        attributes(span)["coalmine.request_id"]
        for span in collector.spans
        if span.kind == Span.SPAN_KIND_SERVER
    ]
    assert tuple(seen.count(f"r{number}") for number in range(len(flags))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("extra", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_without_an_exporter_nothing_of_opentelemetry_is_imported(
    bundle: Path, extra: dict[str, str]
) -> None:
    """A server that is not asked for traces does not pay for them, not even their import."""
    script = """
import json, sys, threading, time, os, signal
from inference.__main__ import main
threading.Thread(target=lambda: (time.sleep(3), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
code = main([])
print(json.dumps([code, [name for name in sys.modules if name.startswith("opentelemetry")]]))
"""
    default = {"OTEL_TRACES_EXPORTER": "otlp"} if "OTEL_SDK_DISABLED" in extra else {}
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    environment = server_environment(bundle, **{**endpoint, **default, **extra})
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1] == [0, []], done.stderr
    assert "serving" in [line["message"] for line in lines[:-1]]


@pytest.mark.slow
def test_console_spans_are_lines_of_json(trace: Callable[..., Traced]) -> None:
    """The console exporter writes where all lines go, one object a line."""
    server = trace(OTEL_TRACES_EXPORTER="console")
    server.stub.Predict(REQUEST)
    assert server.end() == 0
    lines = [json.loads(line) for line in server.process.lines]
    names = [line["name"] for line in lines if "context" in line]
    assert "inference.v1.InferenceService/Predict" in names


@pytest.mark.slow
def test_a_collector_that_hangs_holds_nobody_up(trace: Callable[..., Traced], collector: Collector) -> None:
    """Requests are answered as ever, and the end of the process waits for the collector a few seconds only."""
    collector.hold.clear()
    server = trace(OTEL_BSP_SCHEDULE_DELAY=50)
    for _ in range(20):
        assert server.stub.Predict(REQUEST, timeout=2).predictions
    started = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - started < 8
    assert json.loads(server.process.lines[-1])["message"] == "traces lost: the collector does not answer"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "there is no exporter zipkin"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "there is no exporter otlp_proto_grpc",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "often"},
            "OTEL_TRACES_SAMPLER: expected one of",
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "2",
            },
            "OTEL_TRACES_SAMPLER_ARG: expected a ratio from 0 to 1 (found '2')",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    make_process: Callable[..., Any], variables: dict[str, str], sentence: str
) -> None:
    """Variables that ask for what is not there end the start with 2 and one line."""
    process = make_process(**variables)
    assert process.end() == 2
    (line,) = map(json.loads, process.lines)
    assert line["level"] == "ERROR"
    assert sentence in line["message"]


def test_a_missing_extra_is_one_sentence(tmp_path: Path) -> None:
    """Without the packages of the extra, a server that is asked for traces says which extra it misses."""
    script = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from inference.__main__ import main
sys.exit(main([]))
"""
    environment = server_environment(tmp_path, OTEL_TRACES_EXPORTER="otlp")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 2
    assert ".[otel]" in line["message"]
    assert done.stderr == ""


# Laws of sampling, without a server.

IDS = st.integers(1, 2**128 - 1)


@given(IDS, st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_parent_is_read_as_it_is_written(trace_id: int, span_id: int, flags: int) -> None:
    """Every valid traceparent gives its ids, and the last bit of its flags."""
    parent = parent_of({"traceparent": f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"})
    assert parent == Parent(trace_id, span_id, flags)
    assert parent.sampled == bool(flags & 1)


@given(
    st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}", fullmatch=True)
)
def test_no_header_is_a_defect(text: str) -> None:
    """Whatever a caller sends as its trace, it is read or ignored."""
    parent = parent_of({"traceparent": text})
    assert parent is None or (parent.trace_id and parent.span_id)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    ],
)
def test_invalid_parents_are_none(header: str) -> None:
    """What W3C Trace Context calls invalid starts a trace of its own; later versions may say more."""
    assert parent_of({"traceparent": header}) is None
    assert parent_of({"traceparent": f"01-{TRACE_ID}-{SPAN_ID}-01-more"}) is not None


@given(IDS, st.floats(0, 1), st.sampled_from([name for name in SAMPLERS if "ratio" in name]))
def test_ratios_decide_as_the_sdk_does(trace_id: int, ratio: float, name: str) -> None:
    """By the id of a trace our decision is that of OpenTelemetry's own sampler, and new ids pass it."""
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    theirs = TraceIdRatioBased(ratio)
    sampling = sampling_of(name, str(ratio))
    if not name.startswith("parentbased"):
        ours = sampling.takes_child(Parent(trace_id, 1, 0))
        assert ours == theirs.should_sample(None, trace_id, "x").decision.is_sampled()
    if ratio > 1e-15:
        assert theirs.should_sample(None, sampling.new_trace_id(), "x").decision.is_sampled()


def test_the_share_of_roots_is_the_ratio() -> None:
    """Of 20,000 requests without a trace, 10 % are taken, within six standard deviations."""
    sampling = sampling_of("parentbased_traceidratio", "0.1")
    taken = sum(sampling.takes_root() for _ in range(20_000))
    assert abs(taken - 2000) < 6 * (20_000 * 0.1 * 0.9) ** 0.5
