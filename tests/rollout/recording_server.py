"""A small HTTP server that keeps what it is asked and answers what a test tells it.

It stands in for GitHub and for the Argo Server, of which neither can run here; it knows of them only what their
documents say about these calls.
"""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A status, with headers and an object."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    content: dict[str, Any] | None = None


class Asked(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    content: Any


class RecordingServer:
    """Gives `answers` one after the other, the last one for ever."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.asked: list[Asked] = []
        self._answers = list(answers)
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                lowered = {name.lower(): value for name, value in self.headers.items()}
                recorder.asked.append(Asked("POST", self.path, lowered, json.loads(body)))
                answer = recorder._next()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                content = b"" if answer.content is None else json.dumps(answer.content).encode()
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
