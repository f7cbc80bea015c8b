"""The data plane: what a prediction is, without a word about how it was asked for.

`rpc` and `gateway` turn a request into a `PredictCall`, and the `Answer`, or the error of `inference.errors`,
into a reply. Both ask `admission` when a request arrives, before it waits for a thread.
"""

import random
import threading
import time
from typing import Final, NamedTuple

from inference.artifacts import Outputs
from inference.errors import NotReadyError, OverloadError, UnknownModelError
from inference.events import EventLog, PredictionRecord
from inference.generation import Generation, ModelHolder
from inference.rows import RowBlock, quoted

__all__ = ["Admission", "Answer", "DataPlane", "PredictCall"]

#: What a refused caller is asked to wait: about what 256 queued one-row calls take (0.35 ms each).
RETRY_AFTER_SECONDS: Final = 0.1


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


class Answer(NamedTuple):
    """The outputs, and the generation that computed them."""

    outputs: Outputs
    generation: Generation
    event_id: str


class Admission:
    """Counts the requests that wait or run, and knows when more than `limit` would."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_flight = 0

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

    def refusal(self) -> OverloadError:
        """Return the error for a request that came when this was full."""
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


class DataPlane:
    """Answers requests from whatever generation serves."""

    def __init__(self, holder: ModelHolder, events: EventLog, *, max_rows: int, max_concurrent: int) -> None:
        self.admission: Final = Admission(max_concurrent)
        self._holder = holder
        self._events = events
        self._max_rows = max_rows
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here: a model is loaded and nobody asked the server to stop."""
        return self._holder.current is not None and not self._draining

    @property
    def serving(self) -> Generation | None:
        """The generation that answers now."""
        return self._holder.current

    def drain(self) -> None:
        """Say not ready from now on; requests that come all the same are answered."""
        self._draining = True

    def predict(self, call: PredictCall) -> Answer:
        """Predict every row of `call`.

        Raises `NotReadyError`, `UnknownModelError`, `InvalidRequestError` and, for rows, `OverloadError`.
        """
        generation = self._holder.acquire()
        try:
            _check_asked(generation, call.model_name, call.model_version)
            if call.rows.row_count > self._max_rows:
                raise OverloadError(
                    "rows",
                    f"found {call.rows.row_count} rows, at most {self._max_rows} are taken at once "
                    "(MAX_ROWS_PER_REQUEST); send several requests",
                    None,
                )
            features = generation.signature.features_of(call.rows, call.feature_names)
            outputs = generation.predictor.predict(features)
        finally:
            self._holder.release(generation)
        generation.counters.count(outputs.class_index, len(features))
        event_id = f"{random.getrandbits(128):032x}"  # uuid4 would ask the kernel each time
        self._events.append(
            PredictionRecord(
                time.time(), event_id, call.correlation_id, generation, features, outputs, call.shadow
            )
        )
        return Answer(outputs, generation, event_id)

    def describe(self, model_name: str = "", model_version: str = "") -> Generation:
        """Return the generation that serves. Raises `NotReadyError` and `UnknownModelError`."""
        generation = self._holder.current
        if generation is None:
            raise NotReadyError("no model is loaded yet; try again when /health/ready answers 200")
        _check_asked(generation, model_name, model_version)
        return generation


def _check_asked(generation: Generation, name: str, version: str) -> None:
    if (name and name != generation.name) or (version and version != generation.version):
        asked = " version ".join(quoted(part) for part in (name or generation.name, version) if part)
        raise UnknownModelError(asked, f"{generation.name} version {generation.version}")
