"""An HTTP server beside the main work of a process: bound before it is promised, stopped with its owner."""

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # uvicorn takes a tenth of a server's start, and is not needed before the server answers
    import uvicorn
    from starlette.types import ASGIApp

__all__ = ["HttpServer", "PortInUseError"]

#: How long a stop without any grace leaves to answers that are on their way.
_LAST_WORDS_SECONDS: Final = 0.5
#: How long the head of a request may take, from the connection or the last answer on; as nginx and Apache allow 60
#: and 20 seconds. uvicorn itself waits for ever.
HEAD_SECONDS: Final = 20.0


class PortInUseError(Exception):
    """Another process listens on the address that was asked for."""

    def __init__(self, host: str, port: int, variable: str) -> None:
        self.host, self.port, self.variable = host, port, variable
        super().__init__(
            f"port {port} on {host} is in use by another process: stop that process, "
            f"or set {variable} to a free port (0 lets the system choose one)"
        )


class HttpServer:
    """Serves an ASGI application by uvicorn in a thread of its own."""

    def __init__(
        self, app: "ASGIApp", *, host: str, port: int, variable: str, most_connections: int | None = None
    ) -> None:
        """Bind `host:port` (port 0: the kernel chooses).

        `variable` is the setting that an error names. With `most_connections` open, whoever comes is answered
        503. Connections whose next request does not come within `HEAD_SECONDS` are closed. Raises
        `PortInUseError`, or `OSError` when the address cannot be bound for another reason.
        """
        self._app = app
        self._most_connections = most_connections
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket = _bind(host, port, variable)

    @property
    def port(self) -> int:
        """The port that is really bound."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Start serving and return when requests are accepted. Raises `RuntimeError` when that fails."""
        from telemetry.http_protocol import make_server  # noqa: PLC0415  # see above

        server = self._server = make_server(self._app, self._most_connections)
        # uvicorn takes no signals outside the main thread, so the owner keeps them.
        thread = self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        thread.start()
        deadline = time.monotonic() + timeout_seconds
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the HTTP server did not start; its log lines say why")
            time.sleep(0.005)

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """Finish the requests in flight, cut off those that take longer, then close the port.

        Returns whether all ended in time. May be called before `start`.
        """
        ended = True
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(max(timeout_seconds, _LAST_WORDS_SECONDS))
            ended = not self._thread.is_alive()
            self._server.force_exit = True
            self._thread.join(_LAST_WORDS_SECONDS)
        self._socket.close()
        return ended


def _bind(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Without it a restart would wait for old connections in TIME_WAIT; it does not let two servers listen.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port, variable) from None
        raise
    return listener
