"""The edge of the process over HTTP: slow bodies, answers that nobody reads, defects and what is said of them."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from inference.core import Admission
from inference.errors import OverloadError
from inference.gateway import answering, edge, replies
from protos.inference.v1 import inference_pb2 as pb
from telemetry import correlation_id

ROW = [5.1, 3.5, 1.4, 0.2]
REQUEST = pb.PredictRequest(rows=[pb.Row(values=ROW)])
#: Answers of several MB, so that they do not fit into what the kernel buffers of a connection.
MANY_ROWS = 60_000


def _open(running: object, headers: str, body: bytes = b"", receive_buffer_bytes: int = 0) -> socket.socket:
    """Begin a request by hand."""
    connection = socket.socket()
    if receive_buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.connect(("127.0.0.1", running.service.http_port))
    connection.settimeout(20)
    connection.sendall(f"POST /predict HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n".encode() + body)
    return connection


def _read_to_end(connection: socket.socket) -> bytes:
    received = bytearray()
    while piece := connection.recv(65536):
        received += piece
    return bytes(received)


def _is_free(admission: Admission, size_bytes: int) -> bool:
    try:
        admission.keep(size_bytes)
    except OverloadError:
        return False
    admission.let_go(size_bytes)
    return True


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _budget(running: object) -> int:
    return 16 * running.service._settings.grpc_max_message_bytes


@pytest.mark.parametrize("headers", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_bodies_that_do_not_come_keep_nobody_out(
    make_service: object, monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    """Callers who announce a body and send none take no place from others, and are told to stop after a while."""
    running = make_service(max_concurrent_requests=20)
    monkeypatch.setattr(replies, "MESSAGE_SECONDS", 1.0)
    connections = [_open(running, headers) for _ in range(30)]
    try:
        assert running.http.post("/predict", json={"rows": [ROW]}).status_code == 200
        assert running.stub.Predict(REQUEST, timeout=5).predictions
        assert _is_free(running.service.plane.admission, _budget(running))
        reply = _read_to_end(connections[0])
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not come within 1 seconds" in reply
    finally:
        for connection in connections:
            connection.close()
    line = 'ml_request_count_total{code="CANCELLED",method="Predict",track="stable"} 30.0'
    _wait_until(lambda: line in running.metrics())


def test_refused_bodies_give_back_only_what_they_took(make_service: object) -> None:
    """After any number of bodies that did not fit, the budget is what it was."""
    running = make_service()
    admission, budget = running.service.plane.admission, _budget(running)
    admission.keep(budget)
    for _ in range(2):
        assert running.http.post("/predict", json={"rows": [ROW] * 20}).status_code == 429
    assert not _is_free(admission, 1)
    admission.let_go(budget)
    assert _is_free(admission, budget)
    assert not _is_free(admission, budget + 1)


def _ask_for_much(running: object) -> socket.socket:
    body = b'{"rows":[' + b",".join([b"[5.1,3.5,1.4,0.2]"] * MANY_ROWS) + b"]}"
    return _open(running, f"Connection: close\r\nContent-Length: {len(body)}", body, 4096)


def test_large_answers_count_until_they_are_read(make_service: object) -> None:
    """An answer that its caller does not read stays counted, and is given back and complete once it is read."""
    running = make_service()
    admission, budget = running.service.plane.admission, _budget(running)
    with _ask_for_much(running) as connection:
        _wait_until(lambda: admission.in_flight > 0)
        _wait_until(lambda: admission.in_flight == 0)
        time.sleep(0.3)  # for an answer that is not waited for to be forgotten, as it was before
        assert not _is_free(admission, budget)
        received = _read_to_end(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert len(httpx.Response(200, content=body).json()["predictions"]) == MANY_ROWS
    _wait_until(lambda: _is_free(admission, budget))


def test_answers_that_nobody_reads_are_given_up(
    make_service: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who takes too long for a large answer is cut off, and its bytes are free again."""
    monkeypatch.setattr(answering, "TAKE_SECONDS", 0.3)
    running = make_service()
    admission, budget = running.service.plane.admission, _budget(running)
    with _ask_for_much(running) as connection:
        _wait_until(lambda: admission.in_flight > 0)
        _wait_until(lambda: admission.in_flight == 0)
        _wait_until(lambda: _is_free(admission, budget))
        assert _read_to_end(connection).count(b"class_index") < MANY_ROWS


def test_connections_without_a_request_keep_nobody_out(make_service: object) -> None:
    """600 callers who connect and send half a head, or nothing, leave health and predictions alone."""
    running = make_service(max_concurrent_requests=4)
    address = ("127.0.0.1", running.service.http_port)
    connections = [socket.create_connection(address) for _ in range(600)]
    for connection in connections[:300]:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
    try:
        with httpx.Client(base_url=running.http.base_url) as caller:
            assert caller.get("/health/live").status_code == 200
        assert _status_of_new_caller(running) == 200
    finally:
        for connection in connections:
            connection.close()


def test_requests_in_work_are_bounded(make_service: object) -> None:
    """Beyond the limit and some more, callers are told 503 at once, health aside, and let in when others have gone."""
    running = make_service(max_concurrent_requests=4)
    connections = [_open(running, "Content-Length: 10") for _ in range(260)]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_status_of_new_caller, running).result(10) == 503
    with httpx.Client(base_url=running.http.base_url) as caller:
        assert caller.get("/health/live").status_code == 200
        assert caller.get("/metrics").status_code == 200
        refusal = caller.post("/v2/models/iris/infer", json={"inputs": []})
    assert (refusal.status_code, type(refusal.json()["error"])) == (503, str)
    assert refusal.headers["retry-after"] == "1"
    for connection in connections:
        connection.close()
    _wait_until(lambda: _status_of_new_caller(running) == 200)


def _status_of_new_caller(running: object) -> int:
    with httpx.Client(base_url=running.http.base_url) as caller:
        return caller.post("/predict", json={"rows": [ROW]}).status_code


class _Log:
    """Notes under which identifier each error is logged."""

    def __init__(self) -> None:
        self.identifiers: list[str] = []

    def error(self, _event: str, **_fields: object) -> None:
        self.identifiers.append(correlation_id.get())


def _fail(*_arguments: object, **_named: object) -> None:
    raise ZeroDivisionError("a defect")


@pytest.mark.parametrize(
    ("method", "path", "part", "broken"),
    [
        ("POST", "/predict", "plane", "predict"),
        ("POST", "/v2/models/iris/infer", "plane", "describe"),
        ("GET", "/v2/models/iris", "plane", "describe"),
        ("GET", "/docs/iris", "plane", "describe"),
        ("POST", "/v2/repository/index", "roster", "index"),
        ("POST", "/v2/repository/models/iris/load", "roster", "load"),
        ("POST", "/admin/reload", "roster", "reload"),
        ("POST", "/admin/rollback", "roster", "rollback"),
        ("GET", "/health", "_repository", "diagnostics"),
    ],
)
def test_a_defect_is_logged_under_the_identifier_that_the_caller_is_told(
    make_service: object, monkeypatch: pytest.MonkeyPatch, method: str, path: str, part: str, broken: str
) -> None:
    """Whatever breaks, wherever: 500, a sentence with an identifier, and that identifier in the log."""
    running = make_service(admin_api_token="t")
    log = _Log()
    monkeypatch.setattr(edge, "_log", log)
    monkeypatch.setattr(getattr(running.service, part), broken, _fail)
    bodies = {"/predict": {"rows": [ROW]}, "/v2/models/iris/infer": {"inputs": []}}
    body = {"json": bodies[path]} if path in bodies else {}
    reply = running.http.request(method, path, headers={"X-Admin-Token": "t"}, **body)
    assert reply.status_code == 500
    (identifier,) = log.identifiers
    assert len(identifier) == 32
    assert f"under request id {identifier}" in reply.text
    assert reply.headers.get("x-request-id", identifier) == identifier
