"""A stand-in for Loki: its HTTP API as documented, on a real port.

No Loki can be installed from the package registries, so this one stands in for it. It was built to
https://grafana.com/docs/loki/latest/reference/loki-http-api/ and to what a real Loki 3 was seen to do: `start` is
included and `end` is not, at most `limit` entries of all streams together, the newest first unless asked otherwise,
one array a stream, nanoseconds as text, its words for a limit that is too high, for no tenant and for no query.
Each test gets one of its own, and tells it what goes wrong.
"""

import base64
import gzip
import json
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.drift.current.loki_store import LineStore, ParseError, StoredLine, parse_count

__all__ = ["Answer", "LokiStandIn", "basic"]

RANGE = "/loki/api/v1/query_range"


@dataclass
class Answer:
    """What is sent instead of the right answer, or before it is."""

    status: int = 500
    text: str = "rpc error: code = Code(500) desc = context deadline exceeded"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class LokiStandIn:
    """The server, its lines, its limits, and what goes wrong with it."""

    store: LineStore = field(default_factory=LineStore)
    max_entries: int = 5000
    shows_limits: bool = True
    tenant: str | None = None
    #: The whole header Authorization that is wanted.
    authorization: str | None = None
    #: Sent instead of the next answers.
    instead: list[Answer] = field(default_factory=list)
    #: After so many more answers each one is an error of the server; None means never.
    answers_left: int | None = None
    #: Counts are refused.
    refuses_counts: bool = False
    #: So many of the next answers end in the middle of their JSON.
    truncated: int = 0
    #: Seconds before each answer.
    slow_seconds: float = 0.0
    #: Added to each count.
    count_lie: int = 0
    clock_ahead_seconds: float = 0.0
    #: So many of the next answers have a header Date that is wrong by so much more.
    dates_wrong: int = 0
    wrong_by_seconds: float = 0.0
    #: Parameters of requests that a proxy before it does not pass on: start, end, or the filters of the query.
    ignores: set[str] = field(default_factory=set)
    #: So many of the next answers with lines have more bytes than anybody takes.
    oversized: int = 0
    #: Path, parameters and method of each request.
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def __enter__(self) -> "LokiStandIn":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def asked(self, kind: str) -> list[dict[str, str]]:
        """Return the parameters of the requests for `lines` or `counts`."""
        ranges = [parameters for path, parameters, _ in self.requests if path == RANGE]
        return [one for one in ranges if (parse_count(one["query"]) is not None) == (kind == "counts")]

    def answer(self, path: str, parameters: dict[str, str], headers: Any) -> Answer:  # noqa: ANN401
        """Return status and body of one request."""
        refused = self._refuse(headers)
        if refused is not None:
            return refused
        if path == "/loki/api/v1/drilldown-limits" and self.shows_limits:
            return _json({"limits": {"max_entries_limit_per_query": self.max_entries}})
        if path != RANGE:
            return Answer(404, "404 page not found")
        try:
            return self._range(parameters, headers)
        except ParseError as error:
            return Answer(400, str(error))

    def _refuse(self, headers: Any) -> Answer | None:  # noqa: ANN401
        if self.instead:
            return self.instead.pop(0)
        if self.answers_left is not None:
            self.answers_left -= 1
            if self.answers_left < 0:
                return Answer()
        wanted = {"Authorization": self.authorization, "X-Scope-OrgID": self.tenant}
        for name, value in wanted.items():
            if value is not None and headers.get(name) != value:
                return Answer(401, "no org id" if name == "X-Scope-OrgID" else "401 Authorization Required")
        return None

    def _range(self, parameters: dict[str, str], headers: Any) -> Answer:  # noqa: ANN401
        counted = parse_count(parameters["query"])
        if counted is None:
            flags = headers.get("X-Loki-Response-Encoding-Flags", "")
            return self._lines(parameters, "categorize-labels" in flags)
        if self.refuses_counts:
            return Answer(400, "the query would read too many bytes")
        return _json(self._counts(*counted, parameters))

    def _lines(self, parameters: dict[str, str], categorize: bool) -> Answer:
        limit = int(parameters.get("limit", 100))
        start = 0 if "start" in self.ignores else int(parameters["start"])
        end = 2**63 if "end" in self.ignores else int(parameters["end"])
        query = parameters["query"]
        if "filters" in self.ignores:
            query = query.split("}")[0] + "}"
        if self.oversized:
            self.oversized -= 1
            return Answer(200, " " * (17 << 20))
        if limit > self.max_entries:
            sentence = "max entries limit per query exceeded, limit > max_entries_limit_per_query"
            return Answer(400, f"{sentence} ({limit} > {self.max_entries})")
        if end <= start:
            return Answer(400, "end timestamp must not be before or equal to start time")
        found = self.store.find(query, start, end)
        backward = parameters.get("direction", "backward") == "backward"
        found.sort(key=lambda one: one.timestamp, reverse=backward)
        streams: dict[Any, list[Any]] = {}
        for one in found[:limit]:
            _put(streams, one, categorize)
        result = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
        return _json({"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}})

    def _counts(self, query: str, seconds: int, parameters: dict[str, str]) -> dict[str, Any]:
        first, last = (int(parameters[name]) // 10**9 for name in ("start", "end"))
        step = int(parameters.get("step", "60s").removesuffix("s"))
        values = []
        for end in range(first, last + 1, step):
            # The lower bound of the range is not included, the upper one is (pkg/logql/range_vector.go).
            found = self.store.find(query, (end - seconds) * 10**9 + 1, end * 10**9 + 1)
            if found or self.count_lie:
                values.append([end, str(len(found) + self.count_lie)])
        result = [{"metric": {}, "values": values}] if values else []
        return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def basic(username: str, password: str) -> str:
    """Return the header of basic authentication."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _put(streams: dict[Any, list[Any]], one: StoredLine, categorize: bool) -> None:
    if categorize:
        value = [str(one.timestamp), one.line, {"structuredMetadata": dict(one.metadata)}]
        streams.setdefault(one.labels, []).append(value)
    else:
        streams.setdefault(one.labels + one.metadata, []).append([str(one.timestamp), one.line])


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value), {"Content-Type": "application/json"})


def _handler(loki: LokiStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = (
            1 << 16
        )  # head and body in one packet: in two, each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            self._reply(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _reply(self, form: str) -> None:
            path = urlsplit(self.path).path
            parameters = {name: values[0] for name, values in parse_qs(form).items()}
            loki.requests.append((path, parameters, self.command))
            time.sleep(loki.slow_seconds)  # a slow server is what is tested
            answer = loki.answer(path, parameters, self.headers)
            body = answer.text.encode()
            if answer.status == 200 and loki.truncated:
                loki.truncated -= 1
                body = body[: len(body) // 2]
            self.send_response_only(answer.status)
            wrong_by, loki.dates_wrong = (
                loki.wrong_by_seconds if loki.dates_wrong > 0 else 0,
                loki.dates_wrong - 1,
            )
            date = time.time() + loki.clock_ahead_seconds + wrong_by
            self.send_header("Date", formatdate(date, usegmt=True))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                body = gzip.compress(body, 1)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:  # the client had enough
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing: tests read other lines."""

    return Handler
