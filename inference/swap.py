"""Changing the model under traffic: everything that can fail happens before the one step that cannot.

fetch → gate → load → golden rows → warm up → switch one reference → drain the old generation → keep it for a
rollback. Whatever fails leaves the serving generation as it is.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import numpy as np
import structlog

from inference.artifacts import Bundle, FetchedModel, Predictor, Repository
from inference.errors import GateError, InferenceError, InvalidRequestError, NoPreviousModelError, Violation
from inference.generation import Generation, ModelHolder
from inference.metrics import Metrics
from inference.signature import Signature

__all__ = ["Loading", "SwapOutcome", "SwapRecord", "Swapper"]

SwapOutcome = Literal["swapped", "unchanged", "failed", "rolled_back"]

#: Sizes of the batches that warm a model up: the common one, and one that makes it grow its buffers.
WARM_UP_ROWS: Final = (1, 1, 1, 64)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


@dataclass(frozen=True, slots=True)
class SwapRecord:
    """What the last try came to; `error` is empty unless it failed."""

    outcome: SwapOutcome
    at: datetime
    error: str = ""


class Loading(NamedTuple):
    """How a verified bundle becomes a predictor that may serve."""

    load: Callable[[Bundle], Predictor]
    #: Raises `BundleError` when the predictor does not give what training recorded.
    check: Callable[[Bundle, Predictor], None]
    min_accuracy: float | None = None


class Swapper:
    """Makes generations and switches to them, one at a time.

    `model_uri` is the configured one, or None when the repository has only one model to give.
    """

    def __init__(
        self,
        holder: ModelHolder,
        repository: Repository,
        loading: Loading,
        metrics: Metrics,
        *,
        model_uri: str | None,
        drain_seconds: float,
    ) -> None:
        self._holder = holder
        self._repository = repository
        self._loading = loading
        self._metrics = metrics
        self._model_uri = model_uri
        self._drain_seconds = drain_seconds
        self._one_at_a_time = threading.Lock()
        self._last: SwapRecord | None = None
        self._stale_reason = ""

    @property
    def last(self) -> SwapRecord | None:
        """What the last try came to."""
        return self._last

    @property
    def model_uri(self) -> str | None:
        """The model URI that a reload without one resolves."""
        return self._model_uri

    @property
    def stale_reason(self) -> str:
        """Why the model is the last good one from the cache and not what the registry says; empty if not."""
        return self._stale_reason

    def reload(self, model_uri: str | None = None) -> SwapRecord:
        """Resolve the configured model, or `model_uri` and configure that, and serve what it names now.

        Waits for another reload to end first. Raises what `Repository.fetch` and loading raise, `GateError`,
        and `InvalidRequestError` for a URI where nothing can be chosen; the old generation then serves on.
        """
        if model_uri is not None and self._model_uri is None:
            raise InvalidRequestError(
                [Violation("model_uri", "expected none: MODEL_SOURCE is `local`, which has one model")]
            )
        with self._one_at_a_time:
            asked = model_uri or self._model_uri
            try:
                outcome = self._swap(asked)
            except InferenceError as error:
                self._record("failed", str(error))
                raise
            except Exception:
                self._record("failed", "a defect of the server; its log has the details")
                raise
            self._model_uri = asked
            return self._record(outcome)

    def rollback(self) -> SwapRecord:
        """Serve the previous generation again. Raises `NoPreviousModelError` when there is none."""
        with self._one_at_a_time:
            previous, current = self._holder.previous, self._holder.current
            if previous is None or current is None:
                raise NoPreviousModelError
            again = replace(previous, number=current.number + 1, loaded_at=datetime.now(UTC))
            self._switch(again)
            return self._record("rolled_back")

    def _swap(self, model_uri: str | None) -> SwapOutcome:
        fetched = self._repository.fetch(model_uri)
        outcome = self._serve(fetched)
        self._stale_reason = fetched.stale_reason
        return outcome

    def _serve(self, fetched: FetchedModel) -> SwapOutcome:
        current = self._holder.current
        if current is not None and (current.digest, current.version, current.name) == (
            fetched.bundle.digest,
            fetched.version,
            fetched.name,
        ):
            return "unchanged"
        self._gate(fetched)
        predictor = self._loading.load(fetched.bundle)
        self._loading.check(fetched.bundle, predictor)
        _warm_up(fetched.bundle, predictor)
        self._switch(self._generation(fetched, predictor, 1 if current is None else current.number + 1))
        return "swapped"

    def _gate(self, fetched: FetchedModel) -> None:
        wanted = self._loading.min_accuracy
        found = _accuracy(fetched.bundle)
        if wanted is not None and (found is None or not found >= wanted):
            raise GateError(f"{fetched.name} version {fetched.version}", "accuracy", found, wanted)

    def _generation(self, fetched: FetchedModel, predictor: Predictor, number: int) -> Generation:
        manifest = fetched.bundle.manifest
        return Generation(
            number=number,
            name=fetched.name,
            version=fetched.version,
            bundle=fetched.bundle,
            predictor=predictor,
            signature=Signature(manifest),
            classes=tuple(manifest.classes),
            counters=self._metrics.prediction_counters(list(manifest.classes)),
            loaded_at=datetime.now(UTC),
        )

    def _switch(self, generation: Generation) -> None:
        replaced = self._holder.switch(generation)
        self._metrics.describe_model(
            model=generation.name,
            version=generation.version,
            digest=generation.digest,
            runtime=generation.predictor.runtime,
            generation=generation.number,
            accuracy=_accuracy(generation.bundle),
        )
        _log.info(
            "model loaded",
            model=generation.name,
            version=generation.version,
            digest=generation.digest,
            runtime=generation.predictor.runtime,
            generation=generation.number,
        )
        if replaced is not None and not self._holder.drain(replaced, self._drain_seconds):
            _log.warning(
                "old generation still has requests in flight",
                generation=replaced.number,
                in_flight=replaced.in_flight,
            )

    def _record(self, outcome: SwapOutcome, error: str = "") -> SwapRecord:
        self._last = SwapRecord(outcome, datetime.now(UTC), error)
        self._metrics.swap(outcome)
        if error and self._holder.current is not None:  # at start, whoever asked says it
            _log.error("model swap failed, the old model serves on", error=error)
        return self._last


def _accuracy(bundle: Bundle) -> float | None:
    metrics = bundle.metrics
    return metrics.accuracy if metrics is not None and metrics.HasField("accuracy") else None


def _warm_up(bundle: Bundle, predictor: Predictor) -> None:
    golden = np.array([row.features for row in bundle.manifest.golden_rows], dtype=np.float32)
    for rows in WARM_UP_ROWS:
        predictor.predict(np.ascontiguousarray(np.resize(golden, (rows, golden.shape[1]))))
