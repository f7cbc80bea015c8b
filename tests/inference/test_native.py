"""GRPC_TRANSPORT=native: what it refuses, and what no other transport needs a test for.

Everything that holds for both is in the other files; `nox -s tests_native` runs them with this transport.
"""

import dataclasses
import re
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from inference.artifacts import Outputs
from inference.core import DataPlane
from inference.errors import OverloadError
from inference.metrics import Metrics
from inference.rpc.pool import WORK_THREADS
from inference.rpc.server import Limits
from inference.settings import Settings
from protos.inference.v1 import inference_pb2 as pb
from telemetry import PortInUseError, SettingsError, load_settings

pytest.importorskip("pygrpc_native")

from inference.rpc.native_context import NativeContext, sendable
from inference.rpc.native_server import NativeServer

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[1, 2, 3, 4])])
PREDICT = "/inference.v1.InferenceService/Predict"
_HANDLED = re.compile(
    r'grpc_server_handled_total\{grpc_code="(CANCELLED|DEADLINE_EXCEEDED)",grpc_method="Predict"'
)
#: Gives an answer of about 1.4 MB.
LARGE = pb.PredictRequest(
    tensor=pb.RowTensor(row_count=60_000, column_count=4, float32_values=b"\0\0\x80\x3f" * 240_000)
)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GRPC_HOST", "::", "GRPC_NATIVE_TRUST_PEERS: whoever reaches"),
        ("GRPC_HOST", "example.org", "GRPC_NATIVE_TRUST_PEERS: whoever reaches"),
        (
            "GRPC_MAX_CONNECTION_AGE_SECONDS",
            "300",
            "GRPC_MAX_CONNECTION_AGE_SECONDS: GRPC_TRANSPORT is `native`",
        ),
        ("GRPC_TLS_CERT_FILE", "cert.pem", "GRPC_TLS_CERT_FILE: GRPC_TRANSPORT is `native`"),
    ],
)
def test_what_it_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    """A setting that this transport would have to ignore is one clear problem at start."""
    monkeypatch.setenv("MODEL_SOURCE", "local")
    monkeypatch.setenv("MODEL_PATH", "bundle")
    monkeypatch.setenv("GRPC_HOST", "127.0.0.1")
    monkeypatch.setenv("GRPC_TRANSPORT", "native")
    assert load_settings(Settings).connection_age_seconds == 300
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    assert [problem for problem in caught.value.problems if problem.startswith(told)]
    monkeypatch.setenv("GRPC_NATIVE_TRUST_PEERS", "true")
    if variable == "GRPC_HOST":
        assert load_settings(Settings).grpc_host == value


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_trust(host: str) -> None:
    """On this machine's own addresses nobody has to say that peers are trusted."""
    settings = Settings(model_source="local", model_path=Path(), grpc_transport="native", grpc_host=host)
    assert not settings.grpc_native_trust_peers


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the setting is refused with the name of the extra, at start and not at the first call."""
    monkeypatch.setitem(__import__("sys").modules, "pygrpc_native", None)
    with pytest.raises(ValueError, match="needs the extra `native`"):
        Settings(model_source="local", model_path=Path(), grpc_transport="native", grpc_host="::1")


def test_a_refusal_ends_the_start(make_process: object) -> None:
    """An address that strangers reach is refused with exit code 2."""
    process = make_process(GRPC_TRANSPORT="native", GRPC_NATIVE_TRUST_PEERS="false", GRPC_HOST="::")
    assert process.end() == 2
    assert b"GRPC_NATIVE_TRUST_PEERS" in b"".join(process.lines)


class _Slow:
    """A model that answers when the test lets it, and counts what it was asked."""

    runtime = "fake"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def predict(self, features: np.ndarray) -> Outputs:
        self.asked += 1
        self.go.wait(20)
        shares = np.full((len(features), 3), 1 / 3, np.float32)
        return Outputs(class_index=shares.argmax(axis=1), probabilities=shares)


def _change(running: object, **changes: object) -> None:
    catalog = running.service.catalog
    (slot,) = catalog.slots
    catalog.switch(slot, dataclasses.replace(slot.current, **changes))


def _wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def native(make_service: object) -> object:
    """A server with this transport."""
    return make_service(grpc_transport="native")


def _code_of(call: grpc.Future) -> str:
    error = call.exception()
    return "OK" if error is None else error.code().name


def test_a_stop_waits_until_answers_are_taken(native: object) -> None:
    """Answers of some MB that are on their way when the server stops arrive whole."""
    slow = _Slow()
    _change(native, predictor=slow)
    calls = [native.stub.Predict.future(LARGE, timeout=20) for _ in range(16)]
    admission = native.service.plane.admission
    _wait_until(lambda: admission.in_flight == 16)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(native.service.stop, 20)
        slow.go.set()
        assert [len(call.result().columns.class_index) for call in calls] == [60_000] * 16
        assert stopped.result()


def test_calls_are_refused_while_it_stops(native: object) -> None:
    """Who asks a server that ends is told to ask another one."""
    slow = _Slow()
    _change(native, predictor=slow)
    call = native.stub.Predict.future(REQUEST, timeout=20)
    _wait_until(lambda: slow.asked == 1)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(native.service.stop, 20)
        # Those that came before it stopped wait for the model and then for ever, so each has little time.
        _wait_until(lambda: _code_of(native.stub.Predict.future(REQUEST, timeout=0.2)) == "UNAVAILABLE")
        slow.go.set()
        assert stopped.result()
    assert call.result().predictions


@pytest.mark.parametrize("version", ["1\n2", "é", "\ud800"])
def test_a_trailer_that_cannot_be_sent_ends_the_call(native: object, version: str) -> None:
    """gRPC's text is printable ASCII. The transport would let a caller wait for the answer to anything else."""
    _change(native, version=version)
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        native.stub.Predict(pb.PredictRequest(rows=[pb.Row(values=[1])]), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert time.monotonic() - started < 5
    _change(native, version="1")
    assert native.stub.Predict(REQUEST, timeout=5).predictions


def test_calls_that_nobody_waits_for_are_not_run(native: object) -> None:
    """Queued calls whose callers cancel, or whose deadline passes, never reach the model, and are counted."""
    slow = _Slow()
    _change(native, predictor=slow)
    running = [native.stub.Predict.future(REQUEST, timeout=20) for _ in range(WORK_THREADS)]
    _wait_until(lambda: slow.asked == WORK_THREADS)
    given_up = [native.stub.Predict.future(REQUEST, timeout=20) for _ in range(10)]
    expired = [native.stub.Predict.future(REQUEST, timeout=0.2) for _ in range(10)]
    admission = native.service.plane.admission
    _wait_until(lambda: admission.in_flight == WORK_THREADS + 20)
    for call in given_up:
        call.cancel()
    assert {call.exception().code().name for call in expired} == {"DEADLINE_EXCEEDED"}
    slow.go.set()
    assert all(call.result().predictions for call in running)
    _wait_until(lambda: admission.in_flight == 0)
    assert slow.asked == WORK_THREADS
    # Which of the two an expired call is, its own clock or that of the transport decides.
    gone = [line for line in native.metrics() if _HANDLED.match(line)]
    assert sum(float(line.rpartition(" ")[2]) for line in gone) == 20


def test_a_message_that_is_too_large_is_counted_as_such(make_service: object) -> None:
    """The status that the caller saw is the one in the metrics."""
    running = make_service(grpc_transport="native", grpc_max_message_bytes=2048)
    with pytest.raises(grpc.RpcError):
        running.stub.Predict(LARGE, timeout=5)
    assert any('code="RESOURCE_EXHAUSTED",method="Predict"' in line for line in running.metrics())


def test_methods_of_nobody_are_unimplemented(native: object) -> None:
    """A mistyped method is told so, and does not wait."""
    for path in ("/inference.v1.InferenceService/Nothing", "/a/b"):
        with pytest.raises(grpc.RpcError) as caught:
            native.channel.unary_unary(path)(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _ask_and_read_nothing(port: int, request: bytes) -> socket.socket:
    """Send one call by hand (RFC 9113, RFC 7541), since every gRPC client reads what comes."""
    headers = b"\x83\x86" + _literal(b":path", PREDICT.encode()) + _literal(b":authority", b"x")
    headers += _literal(b"content-type", b"application/grpc") + _literal(b"te", b"trailers")
    data = b"\0" + struct.pack(">I", len(request)) + request
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 4, 1, headers))
    for start in range(0, len(data), 16_384):  # the most that a frame may have
        connection.sendall(_frame(0, int(start + 16_384 >= len(data)), 1, data[start : start + 16_384]))
    return connection


def test_an_answer_counts_until_it_is_taken(make_service: object) -> None:
    """Who reads nothing keeps the bytes of its answer counted until it goes; who reads, does not."""
    limit = 2**20
    running = make_service(grpc_transport="native", grpc_max_message_bytes=limit)
    admission = running.service.plane.admission

    def nothing_is_kept() -> bool:
        try:
            admission.keep(16 * limit)
        except OverloadError:
            return False
        admission.let_go(16 * limit)
        return True

    # 56 kB fit into the window of a new connection (65,535 bytes), and the answer of 88 kB does not.
    tensor = pb.RowTensor(row_count=3500, column_count=4, float32_values=b"\0\0\x80\x3f" * 14_000)
    request = pb.PredictRequest(tensor=tensor)
    assert running.stub.Predict(request, timeout=5).ByteSize() > 65_535
    _wait_until(nothing_is_kept)
    with _ask_and_read_nothing(running.service.grpc_port, request.SerializeToString()):
        _wait_until(lambda: not nothing_is_kept())
        assert running.stub.Predict(request, timeout=5).columns
        assert not nothing_is_kept()
    _wait_until(nothing_is_kept)


def test_a_server_that_never_started_can_be_stopped(
    make_service: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The port and the socket's directory are given back, and a second stop does no harm."""
    plane = make_service().service.plane
    directory = tmp_path / "t"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    server = _make_server(plane)
    assert server.stop(1)
    again = _make_server(plane, port=server.port)
    again.start()
    assert again.stop(1)
    assert again.stop(1)
    assert not [*directory.iterdir()]


def test_two_processes_share_a_port_only_when_told(make_service: object) -> None:
    """SERVER_WORKERS works with this transport as well; otherwise the second server fails."""
    plane = make_service().service.plane
    first = _make_server(plane, share_port=True)
    second = _make_server(plane, port=first.port, share_port=True)
    with pytest.raises(PortInUseError):
        _make_server(plane, port=first.port)
    for server in (first, second):
        server.start()
    with grpc.insecure_channel(f"127.0.0.1:{first.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=5).status
    for server in (first, second):
        assert server.stop(1)


def _make_server(plane: DataPlane, **options: object) -> NativeServer:
    return NativeServer(
        plane,
        Metrics("stable"),
        {},
        Limits(2**20, 10, 300),
        **{"track": "stable", "host": "127.0.0.1", "port": 0, **options},
    )


@given(st.text(st.characters(max_codepoint=300), max_size=4), st.text(max_size=4) | st.binary(max_size=4))
def test_trailers_are_sent_or_refused(name: str, value: str | bytes) -> None:
    """Whatever is given as a trailer is metadata by gRPC's own rules, or raises."""
    try:
        kept = sendable([(name, value)])
    except ValueError:
        return
    assert kept == [(name, value)]
    assert name
    assert name.isascii()
    assert name == name.lower()
    if name.endswith("-bin"):
        assert isinstance(value, bytes)
    else:
        assert all(" " <= character <= "~" for character in value)


def test_reserved_trailers_are_left_out() -> None:
    """The transport refuses names that begin with grpc-, except that of the details."""
    details = ("grpc-status-details-bin", b"x")
    assert sendable([("grpc-retry-pushback-ms", "100"), details, ("x-a", "b")]) == [details, ("x-a", "b")]


def test_callbacks_come_once() -> None:
    """A callback is called when the call ends, once, and one that comes too late is refused."""
    context = NativeContext(1, (), "ipv4:127.0.0.1:1", None)
    called: list[int] = []
    assert context.add_callback(lambda: called.append(1))
    assert context.time_remaining() > 1e9
    context.cancel()
    context.end()
    assert called == [1]
    assert not context.add_callback(lambda: called.append(2))
    assert not context.is_active()


def test_an_end_at_the_deadline_is_the_deadline() -> None:
    """The transport ends expired calls by its own clock, a little before or after ours."""
    context = NativeContext(1, (), "ipv4:127.0.0.1:1", 0.004)
    context.cancel()
    assert context.time_remaining() == 0
    given_up = NativeContext(1, (), "ipv4:127.0.0.1:1", 5)
    given_up.cancel()
    assert given_up.time_remaining() > 4
