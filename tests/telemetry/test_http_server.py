"""The HTTP server beside a process's main work."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from telemetry import HttpServer, PortInUseError, http_server


class Gate:
    """An application whose `/slow` answers only once it is told to."""

    def __init__(self) -> None:
        self.entered, self.may_answer = threading.Event(), threading.Event()
        routes = [Route("/", self.answer), Route("/slow", self.answer_late)]
        self.app = Starlette(routes=routes)

    def answer(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("here")

    def answer_late(self, _request: Request) -> PlainTextResponse:
        self.entered.set()
        self.may_answer.wait(10)
        return PlainTextResponse("late")


@pytest.fixture
def gate() -> Gate:
    """A fresh application."""
    return Gate()


@pytest.fixture
def server(gate: Gate) -> Iterator[HttpServer]:
    """It, served on a port of the kernel's choice."""
    server = HttpServer(gate.app, host="127.0.0.1", port=0, variable="HTTP_PORT")
    server.start()
    yield server
    gate.may_answer.set()
    server.stop()


def test_port_0_gives_a_port_that_answers(server: HttpServer) -> None:
    """The bound port is read back, and requests are answered as soon as start() returns."""
    assert server.port > 0
    assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "here"


def test_the_port_is_bound_before_it_serves(gate: Gate) -> None:
    """The constructor takes the port, so that a second server learns at once that it is taken."""
    first = HttpServer(gate.app, host="127.0.0.1", port=0, variable="HTTP_PORT")
    try:
        with pytest.raises(PortInUseError) as caught:
            HttpServer(gate.app, host="127.0.0.1", port=first.port, variable="HTTP_PORT")
        assert str(first.port) in str(caught.value)
        assert "HTTP_PORT" in str(caught.value)
    finally:
        first.stop()


def test_an_address_of_nobody_is_another_error(gate: Gate) -> None:
    """What is wrong with the host is not called a port in use."""
    with pytest.raises(OSError, match=r"assign|address"):
        HttpServer(gate.app, host="192.0.2.1", port=0, variable="HTTP_PORT")


def test_stop_closes_the_port(server: HttpServer) -> None:
    """After stop() the port is free for the next server, and stop() may be called again."""
    port = server.port
    server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    server.stop()


def test_stop_before_start_is_fine(gate: Gate) -> None:
    """A process that fails between binding and serving can clean up."""
    server = HttpServer(gate.app, host="127.0.0.1", port=0, variable="HTTP_PORT")
    port = server.port
    server.stop()
    HttpServer(gate.app, host="127.0.0.1", port=port, variable="HTTP_PORT").stop()


def test_a_request_in_flight_is_answered_before_the_end(server: HttpServer, gate: Gate) -> None:
    """stop() waits for the answer that is being made."""
    answers: list[str] = []
    url = f"http://127.0.0.1:{server.port}/slow"
    client = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=10).text))
    client.start()
    assert gate.entered.wait(10)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    gate.may_answer.set()
    stopper.join(10)
    client.join(10)
    assert answers == ["late"]


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"]
)
def test_a_head_that_does_not_come_closes_its_connection(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Who sends nothing, half a head, or half a second one is cut off; a request in work is not."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        while connection.recv(1000):
            pass


@pytest.mark.parametrize("line", [b"GET /" + b"x" * 1000, b"GET / HTTP/1.1\r\nx: " + b"x" * 1000])
def test_a_head_without_end_is_cut_off(server: HttpServer, line: bytes) -> None:
    """Whoever sends headers or a path for ever is told so, and nothing of it stays in memory."""
    sent = 0
    more = b"x" * 65536 if line.startswith(b"GET /x") else b"\r\nx: y" * 10000
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
        contextlib.suppress(OSError),  # it is closed while we write
    ):
        connection.sendall(line)
        while sent < 1 << 26:
            sent += connection.send(more)
    assert sent < 1 << 26
    assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "here"


def test_a_large_body_behind_a_head_is_no_head(server: HttpServer) -> None:
    """The limit is that of heads."""
    assert httpx.post(f"http://127.0.0.1:{server.port}/", content=b"x" * (1 << 20)).status_code == 405


def test_a_request_in_work_is_not_cut_off(
    server: HttpServer, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may take longer than a head."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)
    threading.Timer(0.4, gate.may_answer.set).start()
    assert httpx.get(f"http://127.0.0.1:{server.port}/slow").text == "late"


def test_a_body_behind_its_answer_is_read_to_the_end(server: HttpServer) -> None:
    """Who is refused while it still sends gets the refusal, and no reset connection in its place."""
    size = 1 << 20
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        assert connection.recv(1000).startswith(b"HTTP/1.1 405 ")
        connection.sendall(b"x" * size + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
