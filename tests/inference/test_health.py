"""Health and reflection, over a real server: who asks, who watches, and who watches badly."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from inference.rpc import health, reflection, side_pool

SERVICE = "inference.v1.InferenceService"
Status = health_pb2.HealthCheckResponse
QUESTION = health_pb2.HealthCheckRequest(service=SERVICE)
#: Each channel its own connection, as clients on several machines have.
APART = [("grpc.use_local_subchannel_pool", 1)]


@contextmanager
def watching(running: object, service: str = SERVICE) -> Iterator[Iterator[health_pb2.HealthCheckResponse]]:
    """A watch on a connection of its own."""
    with grpc.insecure_channel(running.address, APART) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        yield health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30)


def _statuses(watch: Iterator[health_pb2.HealthCheckResponse], count: int) -> list[int]:
    return [next(watch).status for _ in range(count)]


def test_a_watch_is_told_at_once_and_of_changes(make_service: object) -> None:
    """The first status comes at once, each change after it, in order; the process is SERVING all along."""
    running = make_service(load=False)
    with watching(running) as service, watching(running, "") as process:
        assert _statuses(service, 1) == [Status.NOT_SERVING]
        running.service.load()
        assert _statuses(service, 1) == [Status.SERVING]
        running.service.drain()
        assert _statuses(service, 1) == [Status.NOT_SERVING]
        assert _statuses(process, 1) == [Status.SERVING]


def test_health_follows_the_models(make_service: object) -> None:
    """Without a model that serves there is no traffic to send here; it comes back with the model."""
    running = make_service()
    roster = running.service.roster
    with watching(running) as service:
        assert _statuses(service, 1) == [Status.SERVING]
        roster.unload("iris")
        assert _statuses(service, 1) == [Status.NOT_SERVING]
        roster.load("iris")
        assert _statuses(service, 1) == [Status.SERVING]
        roster.unload("iris")
        assert _statuses(service, 1) == [Status.NOT_SERVING]
        roster.rollback()
        assert _statuses(service, 1) == [Status.SERVING]


def test_unknown_services(running: object) -> None:
    """Check says NOT_FOUND and what there is; a watch stays open and says SERVICE_UNKNOWN."""
    stub = health_pb2_grpc.HealthStub(running.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert SERVICE in caught.value.details()
    with watching(running, "other") as watch:
        assert _statuses(watch, 1) == [Status.SERVICE_UNKNOWN]


def test_watchers_that_leave_when_they_are_told(make_service: object) -> None:
    """Clients that wait for SERVING and go away at once do not hold the server up.

    With the servicer of grpcio-health-checking 1.85 two of them hang it for good.
    """
    running = make_service(load=False)
    started = threading.Barrier(9)

    def wait_until_serving(_: int) -> None:
        with watching(running) as watch:
            assert _statuses(watch, 1) == [Status.NOT_SERVING]
            started.wait(20)
            assert _statuses(watch, 1) == [Status.SERVING]
            watch.cancel()

    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(wait_until_serving, number) for number in range(8)]
        started.wait(20)
        pool.submit(running.service.load).result(20)
        for each in waiting:
            each.result(20)
    assert health_pb2_grpc.HealthStub(running.channel).Check(QUESTION, timeout=5).status == Status.SERVING


def test_statuses_that_change_all_the_time(make_service: object) -> None:
    """Whatever changes while watchers come and go, each that stays hears the last status."""
    running = make_service()
    server = running.service._grpc
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            with watching(running) as watch:
                _statuses(watch, 1)
                watch.cancel()

    with ThreadPoolExecutor(4) as pool, watching(running) as staying:
        coming = [pool.submit(come_and_go) for _ in range(4)]
        for _ in range(300):
            server.pause()
            server.serve()
        server.drain()
        over.set()
        for each in coming:
            each.result(20)
        while next(staying).status != Status.NOT_SERVING or _later(staying):
            pass


def _later(watch: Iterator[health_pb2.HealthCheckResponse]) -> bool:
    """Whether another status comes within a moment."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, watch, None)
        try:
            return coming.result(0.5) is not None
        except TimeoutError:
            watch.cancel()
            with pytest.raises(grpc.RpcError):
                coming.result(5)
            return False


def test_too_many_watches(make_service: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a watch is refused with what to do, and one that ends makes room."""
    monkeypatch.setattr(health, "MAX_WATCHERS", 3)
    running = make_service()
    stub = health_pb2_grpc.HealthStub(running.channel)
    watches = [stub.Watch(QUESTION, timeout=20) for _ in range(3)]
    assert [_statuses(watch, 1) for watch in watches] == [[Status.SERVING]] * 3
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(QUESTION, timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "3 watches are open" in caught.value.details()
    watches.pop().cancel()
    _eventually(lambda: _code_of(stub.Watch(QUESTION, timeout=20)) is None)


def _code_of(stream: Iterator[object]) -> grpc.StatusCode | None:
    """How a stream ends before it gives anything; None when it gives something."""
    try:
        next(stream)
    except grpc.RpcError as error:
        return error.code()
    return None


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _speak_http2(address: str, frames: bytes) -> socket.socket:
    """Send frames written by hand (RFC 9113), as no gRPC client would."""
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
    return connection


def _headers(method: str, stream: int) -> bytes:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{health.HEALTH_SERVICE}/{method}"),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers
    )
    return _frame(1, 4, stream, block)  # HEADERS, END_HEADERS


def _watch_and_take_nothing(address: str) -> socket.socket:
    """Open a watch with a flow-control window of 0 bytes."""
    message = QUESTION.SerializeToString()
    settings = _frame(4, 0, 0, struct.pack("!HI", 4, 0))  # SETTINGS: INITIAL_WINDOW_SIZE 0
    data = _frame(0, 1, 1, struct.pack("!BI", 0, len(message)) + message)  # DATA, END_STREAM
    return _speak_http2(address, settings + _headers("Watch", 1) + data)


def _ask_and_send_no_message(address: str, calls: int) -> socket.socket:
    """Open calls of Check and never say what they ask."""
    opened = b"".join(_headers("Check", 2 * number + 1) for number in range(calls))
    return _speak_http2(address, _frame(4, 0, 0, b"") + opened)


@pytest.mark.slow
def test_watchers_that_take_nothing(make_service: object) -> None:
    """Watchers without room for a single byte are cut off; the others hear, and Check is answered at once."""
    running = make_service(load=False)
    stub = health_pb2_grpc.HealthStub(running.channel)
    hostile = [_watch_and_take_nothing(running.address) for _ in range(6)]
    try:
        watches = running.service._grpc._health._watches
        _eventually(lambda: len(watches) == 6)
        started = time.monotonic()
        assert stub.Check(QUESTION, timeout=5).status == Status.NOT_SERVING
        assert time.monotonic() - started < health.SEND_SECONDS
        with watching(running) as watch:
            assert _statuses(watch, 1) == [Status.NOT_SERVING]
            running.service.load()
            assert _statuses(watch, 1) == [Status.SERVING]
        _eventually(lambda: not watches)
    finally:
        for connection in hostile:
            connection.close()


@pytest.mark.slow
def test_calls_without_a_message(make_service: object) -> None:
    """Callers that open a check and send nothing keep no thread for long, however many they are."""
    running = make_service()
    stub = health_pb2_grpc.HealthStub(running.channel)
    with _ask_and_send_no_message(running.address, 40):
        started = time.monotonic()
        assert stub.Check(QUESTION, timeout=4 * side_pool.CALL_SECONDS).status == Status.SERVING
        assert time.monotonic() - started < 3 * side_pool.CALL_SECONDS
    with _ask_and_send_no_message(running.address, 8):
        assert stub.Check(QUESTION, timeout=1).status == Status.SERVING


def test_streams_are_counted(make_service: object) -> None:
    """Watch and reflection are in the metrics of grpc-prometheus as streams, and not among the requests."""
    running = make_service()
    with watching(running) as watch:
        _statuses(watch, 1)
        labels = f'grpc_method="Watch",grpc_service="{health.HEALTH_SERVICE}",grpc_type="SERVER_STREAMING"'
        assert f"grpc_server_started_total{{{labels}}} 1.0" in running.metrics()
        watch.cancel()
    _ask(running, reflection.REFLECTION_SERVICES[0], list_services="")
    labels = f'grpc_code="CANCELLED",{labels}'
    _eventually(lambda: f"grpc_server_handled_total{{{labels}}} 1.0" in running.metrics())
    found = running.metrics()
    assert [
        line for line in found if line.startswith("grpc_server_handled_total") and "BIDI_STREAMING" in line
    ]
    assert not [line for line in found if line.startswith("ml_request") and "Watch" in line]


def _reflect(running: object, service: str) -> Callable[..., grpc.Call]:
    return running.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )


def _ask(running: object, service: str, **question: object) -> reflection_pb2.ServerReflectionResponse:
    (reply,) = _reflect(running, service)(
        iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=5
    )
    return reply


@pytest.mark.parametrize("asked", reflection.REFLECTION_SERVICES)
def test_reflection_of_both_versions(running: object, asked: str) -> None:
    """Both versions list every service with both of them, and describe each that they list."""
    listed = {
        service.name for service in _ask(running, asked, list_services="").list_services_response.service
    }
    assert {SERVICE, health.HEALTH_SERVICE, *reflection.REFLECTION_SERVICES} <= listed
    for service in listed:
        reply = _ask(running, asked, file_containing_symbol=service)
        files = map(
            descriptor_pb2.FileDescriptorProto.FromString,
            reply.file_descriptor_response.file_descriptor_proto,
        )
        names = {f"{file.package}.{found.name}" for file in files for found in file.service}
        assert service in names


def test_too_many_reflection_streams(make_service: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle reflection streams are refused beyond the bound, and give their place back when they end."""
    monkeypatch.setattr(reflection, "MAX_STREAMS", 3)
    running = make_service()
    over = threading.Event()

    def idle() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        over.wait(20)
        yield from ()

    method = _reflect(running, reflection.REFLECTION_SERVICES[0])
    streams = [method(idle(), timeout=20) for _ in range(4)]
    _eventually(lambda: any(stream.done() for stream in streams))
    (refused,) = [stream for stream in streams if stream.done()]
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    over.set()
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    _eventually(lambda: _code_of(method(iter([question]), timeout=5)) is None)
