"""Where a fetched model is made ready beside the one that serves, and from where it goes on to serve.

Everything that can fail happens in `prepare`; `commit` is one store of one reference.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import structlog

from inference.artifacts import Bundle, FetchedModel, Predictor
from inference.catalog import Catalog, Slot
from inference.errors import GateError
from inference.generation import Generation
from inference.metrics import Metrics, ModelLabels
from inference.signature import Signature

__all__ = ["Loading", "Stage"]

#: Sizes of the batches that warm a model up: the common one, and one that makes it grow its buffers.
WARM_UP_ROWS: Final = (1, 1, 1, 64)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Loading(NamedTuple):
    """How a verified bundle becomes a predictor that may serve."""

    load: Callable[[Bundle], Predictor]
    #: Raises `BundleError` when the predictor does not give what training recorded.
    check: Callable[[Bundle, Predictor], None]
    min_accuracy: float | None = None


class Stage:
    """Prepares generations and lets them serve in this process."""

    def __init__(self, catalog: Catalog, loading: Loading, metrics: Metrics, *, drain_seconds: float) -> None:
        self._catalog = catalog
        self._loading = loading
        self._metrics = metrics
        self._drain_seconds = drain_seconds

    def prepare(self, fetched: FetchedModel, number: int) -> Generation:
        """Gate, load, reproduce the golden rows, warm up. Raises `GateError` and `BundleError`."""
        bundle = fetched.bundle
        self._gate(fetched)
        predictor = self._loading.load(bundle)
        self._loading.check(bundle, predictor)
        _warm_up(bundle, predictor)
        return Generation(
            number=number,
            name=fetched.name,
            version=fetched.version,
            bundle=bundle,
            predictor=predictor,
            signature=Signature(bundle.manifest),
            classes=tuple(bundle.manifest.classes),
            counters=self._metrics.prediction_counters(list(bundle.manifest.classes)),
            loaded_at=datetime.now(UTC),
            release_bundle=fetched.hold.release if fetched.hold is not None else lambda: None,
        )

    def commit(self, slot: Slot, generation: Generation) -> None:
        """Let `generation` serve in `slot`, and drain the one that it replaces."""
        self.drain(self.switch(slot, generation))

    def switch(self, slot: Slot, generation: Generation) -> Generation | None:
        """Let `generation` serve in `slot`, and return the one that it replaces, to be drained."""
        replaced = self._catalog.switch(slot, generation)
        self._describe()
        _log.info(
            "model loaded",
            model=generation.name,
            version=generation.version,
            digest=generation.digest,
            runtime=generation.predictor.runtime,
            generation=generation.number,
        )
        return replaced

    def unload(self, slot: Slot) -> None:
        """Let `slot` serve nothing, and drain what it served."""
        self.drain(self.take_out(slot))

    def take_out(self, slot: Slot) -> Generation | None:
        """Let `slot` serve nothing, and return what it served, to be drained."""
        replaced = self._catalog.unload(slot)
        self._describe()
        if replaced is not None:
            _log.info("model unloaded", model=replaced.name, version=replaced.version)
        return replaced

    def _gate(self, fetched: FetchedModel) -> None:
        wanted = self._loading.min_accuracy
        found = _accuracy(fetched.bundle)
        if wanted is not None and (found is None or not found >= wanted):
            raise GateError(f"{fetched.name} version {fetched.version}", "accuracy", found, wanted)

    def _describe(self) -> None:
        default = self._catalog.default
        models = [
            ModelLabels(serving.name, serving.version, serving.digest, serving.predictor.runtime)
            for serving in self._catalog.generations
        ]
        self._metrics.describe_models(
            models,
            generation=default.number if default is not None else 0,
            accuracy=_accuracy(default.bundle) if default is not None else None,
        )

    def drain(self, replaced: Generation | None) -> None:
        """Wait until no request uses `replaced` any more, for as long as the settings allow."""
        if replaced is not None and not self._catalog.drain(replaced, self._drain_seconds):
            _log.warning(
                "old generation still has requests in flight",
                generation=replaced.number,
                in_flight=replaced.in_flight,
            )


def _accuracy(bundle: Bundle) -> float | None:
    metrics = bundle.metrics
    return metrics.accuracy if metrics is not None and metrics.HasField("accuracy") else None


def _warm_up(bundle: Bundle, predictor: Predictor) -> None:
    golden = np.array([row.features for row in bundle.manifest.golden_rows], dtype=np.float32)
    for rows in WARM_UP_ROWS:
        predictor.predict(np.ascontiguousarray(np.resize(golden, (rows, golden.shape[1]))))
