"""uvicorn as `HttpServer` runs it. Imported at its start, since uvicorn takes as long to import as gRPC."""

import asyncio
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from telemetry import http_server

__all__ = ["make_server"]


def make_server(app: ASGIApp, most_connections: int | None) -> uvicorn.Server:
    """Return a server of `app`, which answers 503 to whoever comes with `most_connections` open."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_Impatient,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            limit_concurrency=most_connections,
        )
    )


#: A line of a request and its headers; what browsers and proxies send has a few KiB (nginx takes 32).
HEAD_BYTES: Final = 64 * 1024


class _Impatient(HttpToolsProtocol):
    """Closes a connection on which no request is worked on, and none comes in time, or begins without an end.

    What is left of a body whose request is answered already (413) is read to its end, for as long as the next
    request may take: a connection closed before that takes the answer with it, since the caller is told "reset".

    One timer a connection, which looks at the clock when it goes off, since a timer a request costs each of them.
    """

    _since = 0.0
    _head_bytes = 0
    _in_body = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # as in uvicorn
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(http_server.HEAD_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        began_in_body = self._in_body
        super().data_received(data)
        reads_head = self._is_waiting() and not (began_in_body or self._in_body)
        self._head_bytes = self._head_bytes + len(data) if reads_head else 0
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        left = http_server.HEAD_SECONDS
        if self._is_waiting():
            left += self._since - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(left, self._look)

    def _is_waiting(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn says it is never None
        return cycle is None or cycle.response_complete
