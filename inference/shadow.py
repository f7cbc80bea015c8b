"""A model that scores a share of the requests a second time, off the path of the answers, to be compared.

A request pays for one append to a bounded queue. One thread takes the records from there, lets the shadow model
predict the same features, and counts whether it says what the caller was told. What it says goes nowhere else:
no caller can ask for it, and rows on which the models differ are not logged, since the prediction event of the
request has the features already.
"""

import random
import threading
import time
from collections import deque
from typing import Final

import structlog

from inference.agreement import agreeing_rows, features_for
from inference.catalog import Catalog
from inference.errors import InferenceError, InvalidRequestError
from inference.events import PredictionRecord
from inference.generation import Generation
from inference.shadow_metrics import ShadowMetrics
from inference.swap import Swapper

__all__ = ["Shadow"]

#: Records that may wait: what comes within a second at 2,500 requests a second, of which a tenth is taken.
MAX_RECORDS: Final = 256
#: Numbers (of 4 or 8 bytes) that may wait inside records: at most about 16 MB.
MAX_NUMBERS: Final = 2_000_000
#: How long the thread rests after it scored a record, as a multiple of what that took: the shadow takes at most
#: a fifth of one core from the requests, and what comes faster is dropped.
_REST_RATIO: Final = 4.0
#: How long a stop waits for the record that is being scored.
_STOP_SECONDS: Final = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Shadow:
    """Compares the model of `swapper` with the default model of `served`.

    `catalog` holds the shadow's slot alone and is not the one that requests ask, so nobody can choose the shadow.
    """

    def __init__(
        self,
        swapper: Swapper,
        catalog: Catalog,
        served: Catalog,
        metrics: ShadowMetrics,
        *,
        sample_rate: float,
    ) -> None:
        self.swapper: Final = swapper
        self.sample_rate: Final = sample_rate
        self.catalog: Final = catalog
        self._served = served
        self._metrics = metrics
        self._queue: deque[PredictionRecord] = deque()
        self._numbers = 0
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._started = False
        self._said_failing: Generation | None = None
        # A daemon: the end of the process waits for no comparison.
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Load the model, which may fail, and begin to score; called when the server serves already."""
        self._started = True
        self._thread.start()
        self.reload()

    def reload(self) -> None:
        """Serve what the model URI names now; does nothing before `start`, and raises nothing.

        A shadow that cannot be loaded is said in the log and in `/health`, and costs the server nothing else.
        """
        if not self._started or self._closed.is_set():
            return
        try:
            self.swapper.reload()
        except InferenceError as error:
            _log.error("shadow model not loaded", model_uri=self.swapper.model_uri, error=str(error))
        except Exception:  # noqa: BLE001  # whatever is wrong with it must not reach the models that serve
            _log.exception("shadow model not loaded", model_uri=self.swapper.model_uri)

    def listen(self, record: PredictionRecord) -> None:
        """Take `record` along for comparison, if it is one to compare and there is room; never waits."""
        if record.shadow or random.random() >= self.sample_rate:
            return
        if record.generation is not self._served.default:
            return
        if self.swapper.slot.current is None:
            self._metrics.count("skipped")
            return
        with self._changed:
            numbers = record.features.size
            room = len(self._queue) < MAX_RECORDS and self._numbers + numbers <= MAX_NUMBERS
            if room and not self._closed.is_set():
                self._queue.append(record)
                self._numbers += numbers
                self._changed.notify()
                return
        self._metrics.count("dropped")

    def stop(self) -> None:
        """Score nothing more; what still waits counts as dropped."""
        self.swapper.close()
        self._closed.set()
        with self._changed:
            self._metrics.count("dropped", len(self._queue))
            self._queue.clear()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while (record := self._next()) is not None:
            started = time.perf_counter()
            self._score(record)
            del record  # or its features would stay in memory until the next one comes
            self._closed.wait(_REST_RATIO * (time.perf_counter() - started))

    def _next(self) -> PredictionRecord | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed.is_set())
            if not self._queue:
                return None
            record = self._queue.popleft()
            self._numbers -= record.features.size
            return record

    def _score(self, record: PredictionRecord) -> None:
        try:
            generation = self.catalog.acquire()
        except InferenceError:  # it went out of service meanwhile
            self._metrics.count("skipped")
            return
        try:
            self._compare(record, generation)
        except InvalidRequestError:
            self._metrics.count("skipped")
        except Exception:  # noqa: BLE001  # the edge of a thread; a model may raise anything
            self._metrics.count("failed")
            if self._said_failing is not generation:  # once a model: it may fail on every request
                self._said_failing = generation
                _log.exception("shadow model failed", model=generation.name, version=generation.version)
        finally:
            self.catalog.release(generation)

    def _compare(self, record: PredictionRecord, generation: Generation) -> None:
        default = record.generation
        features = features_for(generation, default, record.features)
        started = time.perf_counter()
        outputs = generation.predictor.predict(features)
        seconds = time.perf_counter() - started
        agreeing = agreeing_rows(record.outputs, default.classes, outputs, generation.classes)
        self._metrics.scored(seconds, agree=agreeing, differ=len(features) - agreeing)
