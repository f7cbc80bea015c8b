"""The data plane: what a prediction is, without a word about how it was asked for.

`rpc` and `gateway` turn a request into a `PredictCall`, and the `Answer`, or the error of `inference.errors`,
into a reply. Both ask `admission` when a request arrives, before it waits for a thread.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from inference.artifacts import Outputs
from inference.catalog import Catalog
from inference.errors import AbandonedError, DeadlineError, InferenceError, NotReadyError, OverloadError
from inference.events import PredictionRecord
from inference.generation import Generation
from inference.rows import RowBlock
from inference.tracing import UNTRACED, Tracing

__all__ = ["SHADOW_HEADER", "Admission", "Answer", "DataPlane", "PredictCall", "check_row_count", "is_shadow"]

#: Header by which a caller says that a request is a replay and not user traffic.
SHADOW_HEADER: Final = "x-shadow-request"
#: What a refused caller is asked to wait: about what 256 queued one-row calls take (0.35 ms each).
RETRY_AFTER_SECONDS: Final = 0.1
#: Share of a new measurement in the running mean of what one request takes, and of the mean that a refusal takes
#: off it: once it is above the callers' deadlines nothing runs any more that could bring it down.
_SMOOTHING: Final = 0.05
#: Requests with more rows are not learned from: what they take says nothing of those with one row.
_FEW_ROWS: Final = 64
#: One measurement counts as at most so many times the mean, and this much more: a single stall is no new rule.
_MOST_TIMES: Final = 10.0
_MOST_SECONDS: Final = 0.001


class PredictCall(NamedTuple):
    """What a caller asks."""

    rows: RowBlock
    feature_names: tuple[str, ...] = ()
    #: Empty means whatever serves.
    model_name: str = ""
    model_version: str = ""
    correlation_id: str = ""
    #: A replay made to compare versions, not user traffic.
    shadow: bool = False


def is_shadow(headers: Mapping[str, str]) -> bool:
    """Tell whether a request with these headers is a replay."""
    return headers.get(SHADOW_HEADER, "").lower() == "true"


def check_row_count(found: int, max_rows: int) -> None:
    """Raise `OverloadError` when a request has more than `max_rows` rows."""
    if found > max_rows:
        raise OverloadError(
            "rows",
            f"found {found} rows, at most {max_rows} are taken at once "
            "(MAX_ROWS_PER_REQUEST); send several requests",
            None,
        )


class Answer(NamedTuple):
    """The outputs, and the generation that computed them."""

    outputs: Outputs
    generation: Generation
    event_id: str


class Admission:
    """Counts the requests that wait or run, and the bytes they keep, and knows when that is too much.

    `max_bytes` bounds request bodies that were read and answers that their callers have not taken yet.
    """

    def __init__(self, limit: int, max_bytes: int = 1 << 62) -> None:
        self._limit = limit
        self._closed = False
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._in_flight = 0
        self._bytes = 0

    @property
    def in_flight(self) -> int:
        """Requests that wait or run now."""
        return self._in_flight

    @property
    def full(self) -> bool:
        """Whether one more request would be too many."""
        return self._in_flight >= self._limit

    @property
    def over(self) -> bool:
        """Whether a request that was counted in is itself one too many."""
        return self._in_flight > self._limit

    def close(self) -> None:
        """Let nobody in any more: the server ends."""
        self._closed = True
        self._limit = 0  # so that who asks whether it is full needs no second look

    def refusal(self) -> InferenceError:
        """Return the error for a request that came when this was full, or closed."""
        if self._closed:
            return NotReadyError("the server is shutting down; ask another one")
        return OverloadError(
            "concurrency",
            f"{self._limit} requests wait or run already; try again, or raise MAX_CONCURRENT_REQUESTS",
            RETRY_AFTER_SECONDS,
        )

    def enter(self) -> None:
        """Count a request in."""
        with self._lock:
            self._in_flight += 1

    def leave(self) -> None:
        """Count a request out."""
        with self._lock:
            self._in_flight -= 1

    def keep(self, size_bytes: int) -> None:
        """Count bytes that stay in memory until `let_go`. Raises `OverloadError` when they would be too many."""
        with self._lock:
            if self._bytes + size_bytes > self._max_bytes:
                raise OverloadError(
                    "bytes",
                    f"requests and answers on their way hold {self._bytes} bytes, and {size_bytes} more would "
                    "be too many; try again, or send fewer rows at once",
                    RETRY_AFTER_SECONDS,
                )
            self._bytes += size_bytes

    def let_go(self, size_bytes: int) -> None:
        """Count bytes out that `keep` counted in."""
        with self._lock:
            self._bytes -= size_bytes


class DataPlane:
    """Answers requests from whatever generation serves.

    `listeners` hear of every answered request; they must not wait.
    """

    def __init__(
        self,
        catalog: Catalog,
        listeners: Sequence[Callable[[PredictionRecord], None]],
        *,
        max_rows: int,
        admission: Admission,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.admission: Final = admission
        self.catalog: Final = catalog
        self.tracing: Final = tracing
        self._listeners = (*listeners, *([tracing.annotate] if tracing is not UNTRACED else []))
        #: What one request may have; the gateway looks before it makes anything of the rows of a JSON text.
        self.max_rows: Final = max_rows
        self._draining = False
        self._required: Callable[[], bool] = lambda: True
        self._typical_seconds = 0.0

    def listen(self, listener: Callable[[PredictionRecord], None]) -> None:
        """Let `listener` hear of every answered request too."""
        self._listeners = (*self._listeners, listener)

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here: the models are loaded and nobody asked the server to stop."""
        return self.catalog.ready and not self._draining and self._required()

    def require(self, condition: Callable[[], bool]) -> None:
        """Be ready only while `condition` holds too, such as that some other process serves."""
        self._required = condition

    @property
    def serving(self) -> Generation | None:
        """The generation that answers requests which name no model."""
        return self.catalog.default

    def drain(self) -> None:
        """Say not ready from now on; requests that come all the same are answered."""
        self._draining = True

    def check_worth_starting(self, *, alive: bool, remaining_seconds: float, waited_seconds: float) -> None:
        """Raise `AbandonedError` or `DeadlineError` when nobody could use the answer any more.

        `remaining_seconds` is the time until the deadline. A request is not started when that is less than
        what requests of few rows take of late.
        """
        if remaining_seconds <= self._typical_seconds:
            if remaining_seconds > 0:
                self._typical_seconds *= 1 - _SMOOTHING
            raise DeadlineError(waited_seconds)
        if not alive:
            raise AbandonedError

    def predict(self, call: PredictCall) -> Answer:
        """Predict every row of `call`.

        Raises `NotReadyError`, `UnknownModelError`, `InvalidRequestError` and, for rows, `OverloadError`.
        """
        started = time.perf_counter()
        catalog = self.catalog
        generation = catalog.acquire(call.model_name, call.model_version)
        try:
            check_row_count(call.rows.row_count, self.max_rows)
            features = generation.signature.features_of(call.rows, call.feature_names)
            outputs = generation.predictor.predict(features)
        finally:
            catalog.release(generation)
        generation.counters.count(outputs.class_index, len(features))
        event_id = random.getrandbits(128).to_bytes(16).hex()  # uuid4 would ask the kernel each time
        record = PredictionRecord(
            time.time(), event_id, call.correlation_id, generation, features, outputs, call.shadow
        )
        for listener in self._listeners:
            listener(record)
        if len(features) <= _FEW_ROWS:
            self._learn(time.perf_counter() - started)
        return Answer(outputs, generation, event_id)

    def _learn(self, seconds: float) -> None:
        typical = self._typical_seconds
        counted = min(seconds, _MOST_TIMES * typical + _MOST_SECONDS)
        self._typical_seconds = typical + _SMOOTHING * (counted - typical)

    def describe(self, model_name: str = "", model_version: str = "") -> Generation:
        """Return the generation that answers. Raises `NotReadyError` and `UnknownModelError`."""
        return self.catalog.find(model_name, model_version)
