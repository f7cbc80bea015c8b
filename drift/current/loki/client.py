"""Questions to Loki over HTTP: asked again where that helps, answered within bounds, refused in sentences."""

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlencode

import httpx

from drift.current.loki.access import Access
from drift.current.loki.answers import Direction, Entry, decode_counts, decode_entries, find_maximum
from drift.current.loki.clock import LokiClock
from drift.current.loki.refusals import AnswerTooLarge, EntryLimitExceeded, refusal
from drift.current.loki.retry import RETRIED_STATUSES, Patience, retry_after
from drift.errors import LokiError

__all__ = ["MAX_ANSWER_BYTES", "LokiClient"]

#: An answer is held in memory twice, as bytes and as lines; larger ones are asked again in smaller pages.
MAX_ANSWER_BYTES: Final = 16 << 20
_CONNECT_SECONDS: Final = 5.0
#: Loki's own `query_timeout` is one minute.
READ_SECONDS: Final = 65.0
#: One evaluation reads no longer than this; what is left is read by the next one.
TOTAL_SECONDS: Final = 240.0
#: Loki serves /query_range by POST too, for queries that no URL can hold.
_MAX_URL: Final = 4000

_RANGE: Final = "/loki/api/v1/query_range"
_LIMITS: Final = ("/loki/api/v1/drilldown-limits", "/config/tenant/v1/limits")

_T = TypeVar("_T")


class LokiClient:
    """Asks one Loki. For one thread at a time."""

    def __init__(
        self,
        access: Access,
        *,
        read_seconds: float = READ_SECONDS,
        patience: Patience | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._access, self._patience = access, patience or Patience()
        self._read_seconds, self._max_answer_bytes = read_seconds, max_answer_bytes
        self._http = httpx.Client(
            headers=access.headers(),
            auth=access.auth(),
            timeout=httpx.Timeout(read_seconds, connect=_CONNECT_SECONDS),
        )
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self.clock = LokiClock()

    @property
    def address(self) -> str:
        """The base URL as sentences may show it."""
        return self._access.address

    def begin(self) -> None:
        """Begin to count the time that one evaluation may take."""
        self._deadline = time.monotonic() + TOTAL_SECONDS

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def entries(self, query: str, start: int, end: int, limit: int, direction: Direction) -> list[Entry]:
        """Return at most `limit` entries from `start` to before `end` (ns since 1970), in the direction's order.

        Raises `LokiError`, `EntryLimitExceeded` and `AnswerTooLarge`.
        """
        parameters = {
            "query": query,
            "start": str(start),
            "end": str(end),
            "limit": str(limit),
            "direction": direction,
        }
        return self._ask(_RANGE, parameters, lambda body: decode_entries(body, direction))

    def counts(self, query: str, first: int, last: int, step: int) -> dict[int, int]:
        """Return how many lines each stretch of `step` seconds has, by its last second, from `first` to `last`.

        A stretch begins after its first moment and has its last, unlike pages. Raises `LokiError`.
        """
        parameters = {
            "query": f"sum(count_over_time({query} [{step}s]))",
            "start": str(first * 1_000_000_000),
            "end": str(last * 1_000_000_000),
            "step": f"{step}s",
        }
        try:
            return self._ask(_RANGE, parameters, decode_counts)
        except (EntryLimitExceeded, AnswerTooLarge):
            raise self._error("counts in more bytes than are read", "look at LOKI_QUERY") from None

    def maximum_entries(self) -> int | None:
        """Return how many entries Loki gives at most, where it says so; None otherwise."""
        for path in _LIMITS:
            try:
                found = self._ask(path, {}, find_maximum, patience=Patience(attempts=1))
            except (LokiError, EntryLimitExceeded, AnswerTooLarge):
                continue
            if found:
                return found
        return None

    def _ask(
        self,
        path: str,
        parameters: Mapping[str, str],
        decode: Callable[[bytes], _T],
        patience: Patience | None = None,
    ) -> _T:
        attempt, patience = 0, patience or self._patience
        while True:
            if time.monotonic() > self._deadline:
                remedy = "the next evaluation goes on there; look at Loki's load"
                raise self._error(f"did not give all lines within {TOTAL_SECONDS:g} s", remedy)
            attempt, asked = attempt + 1, None
            try:
                status, headers, body = self._send(path, parameters)
            except httpx.RequestError as error:
                failure: Exception = self._error(*_trouble(error))
            else:
                if status == 200:
                    try:
                        return decode(body)
                    except TypeError as error:
                        raise self._error(f"answers {error}", "make LOKI_QUERY a log query") from None
                    except ValueError:
                        failure = self._error(*_unreadable(headers))
                else:
                    text = self._access.redacted(body.decode("utf-8", "replace"))
                    failure = refusal(self._access.address, status, text, headers.get("Location"))
                    if status not in RETRIED_STATUSES:
                        raise failure
                    asked = retry_after(headers.get("Retry-After"))
            if not patience.wait(attempt, asked):
                raise failure

    def _send(self, path: str, parameters: Mapping[str, str]) -> tuple[int, httpx.Headers, bytes]:
        form = urlencode(parameters)
        url = str(self._access.url).rstrip("/") + path
        deadline = time.monotonic() + 2 * self._read_seconds
        if len(url) + len(form) < _MAX_URL:
            request = self._http.build_request("GET", f"{url}?{form}" if form else url)
        else:
            request = self._http.build_request("POST", url, data=parameters)
        sent = time.time()
        response = self._http.send(request, stream=True)
        try:
            self.clock.learn(response.headers.get("Date"), sent, time.time())
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > self._max_answer_bytes:
                    raise AnswerTooLarge
                if time.monotonic() > deadline:  # it drips: no single read is slow
                    raise httpx.ReadTimeout("the answer took too long", request=request)
        finally:
            response.close()
        return response.status_code, response.headers, bytes(body)

    def _error(self, reason: str, remedy: str) -> LokiError:
        return LokiError(self._access.address, self._access.redacted(reason), remedy)


def _trouble(error: httpx.RequestError) -> tuple[str, str]:
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return (
            f"cannot be reached ({str(error) or type(error).__name__})",
            "check LOKI_BASE_URL, and that a network policy lets us out",
        )
    if isinstance(error, httpx.TimeoutException):
        return (
            "does not answer in time",
            "narrow LOKI_QUERY or LOKI_RANGE_MINUTES, or look at Loki's load",
        )
    return (
        f"breaks off its answer ({str(error) or type(error).__name__})",
        "look at Loki and the proxy before it",
    )


def _unreadable(headers: httpx.Headers) -> tuple[str, str]:
    kind = headers.get("Content-Type", "no content type").split(";")[0]
    return (
        f"answers with what is no answer of Loki ({kind})",
        "set LOKI_BASE_URL to Loki itself, and see that no proxy cuts its answers",
    )
