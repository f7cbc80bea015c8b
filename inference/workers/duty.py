"""What a worker does for the supervisor: the same steps as a swap in one process, each when it is told to."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from inference.artifacts import Cache, FetchedModel, read_bundle
from inference.catalog import Slot, slot_of
from inference.errors import InferenceError, NoPreviousModelError
from inference.generation import Generation
from inference.lines import LineWriter
from inference.oip import FixedModels
from inference.serving import Front, Serving
from inference.settings import Settings
from inference.tracing import Tracing
from inference.workers.messages import Load, Mode, Pending, Plan, SlotState
from inference.workers.sums import Snapshot, snapshot_of

__all__ = ["Duty"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference.workers")


class Duty:
    """The serving side of one worker. Changes come one after another; `say` and `report` at any time."""

    def __init__(self, settings: Settings, writer: LineWriter, tracing: Tracing) -> None:
        self._serving: Final = Serving(settings, writer, tracing)
        self.tracing: Final = tracing
        self._cache = Cache(settings.model_cache_dir.absolute())
        self._prepared: dict[tuple[str, int], Generation] = {}
        self._lock = threading.Lock()
        self._mode: Mode = "not_serving"
        self._grpc: Front | None = None

    def restore(self, plan: Plan) -> None:
        """Come to the state of `plan`; loads what is missing. Raises `InferenceError`."""
        self.discard()
        for state in plan.slots:
            self._bring(state)
        if plan.pending is not None:
            self.prepare(plan.pending)
        self.say(plan.mode)

    def open(self, port: int) -> None:
        """Bind the port and answer calls. Raises `OSError`."""
        grpc: Front = self._serving.bind_grpc(FixedModels(self._serving.catalog), port=port, share_port=True)
        with self._lock:
            self._grpc = grpc
            self._apply(grpc)  # first, so that the first call already hears it
        grpc.start()

    def say(self, mode: Mode) -> None:
        """Let health say this, at once or as soon as the port is bound."""
        with self._lock:
            self._mode = mode
            if mode == "draining":
                self._serving.plane.drain()
            if self._grpc is not None:
                self._apply(self._grpc)

    def prepare(self, pending: Pending) -> None:
        """Make a model ready beside the one that serves. Raises `InferenceError`."""
        key = (pending.slot, pending.load.number)
        if key not in self._prepared:
            self._prepared[key] = self._load(pending.load)

    def commit(self, slot: str, number: int) -> None:
        """Let what was prepared serve."""
        self._drain(self._serving.stage.switch(self._slot(slot), self._prepared.pop((slot, number))))
        self.discard()

    def discard(self) -> None:
        """Forget what was prepared and not committed."""
        while self._prepared:
            self._prepared.popitem()[1].release_bundle()

    def rollback(self, slot: str, number: int) -> None:
        """Let the previous generation serve again. Raises `NoPreviousModelError`."""
        found = self._slot(slot)
        if found.previous is None:
            raise NoPreviousModelError
        again = replace(found.previous, number=number, loaded_at=datetime.now(UTC))
        self._drain(self._serving.stage.switch(found, again))

    def unload(self, slot: str) -> None:
        """Let the slot serve nothing."""
        self._drain(self._serving.stage.take_out(self._slot(slot)))

    @property
    def generation(self) -> int:
        """Number of the default model's generation; 0 when none serves."""
        serving = self._serving.plane.serving
        return serving.number if serving is not None else 0

    def report(self) -> Snapshot:
        """Tell what was counted."""
        return snapshot_of(self._serving.metrics.registry)

    def stop(self, grace_seconds: float) -> bool:
        """Accept nothing more and end what is in flight; return whether it ended in time."""
        return self._grpc is None or self._grpc.stop(grace_seconds)

    def _apply(self, grpc: Front) -> None:
        {"serving": grpc.serve, "not_serving": grpc.pause, "draining": grpc.drain}[self._mode]()

    def _slot(self, key: str) -> Slot:
        catalog = self._serving.catalog
        found = next((slot for slot in catalog.slots if slot.key == key), None)
        if found is None:  # an operator loaded a model that is not configured
            found = slot_of(key)
            catalog.add(found)
        return found

    def _drain(self, replaced: Generation | None) -> None:
        # Beside the reply, for which the other processes wait.
        threading.Thread(target=self._serving.stage.drain, args=(replaced,), daemon=True).start()

    def _bring(self, state: SlotState) -> None:
        slot, stage = self._slot(state.key), self._serving.stage
        if (_number(slot.current), _number(slot.previous)) == (
            _number(state.current),
            _number(state.previous),
        ):
            return
        if state.previous is not None:
            self._bring_previous(slot, state.previous, needed=state.current is None)
        if state.current is not None:
            stage.switch(slot, self._load(state.current))
        elif state.unloaded:
            stage.take_out(slot)

    def _bring_previous(self, slot: Slot, load: Load, *, needed: bool) -> None:
        try:
            self._serving.stage.switch(slot, self._load(load))
        except InferenceError as error:
            if needed:
                raise
            _log.warning("previous model cannot be loaded again, no rollback to it here", error=str(error))

    def _load(self, load: Load) -> Generation:
        hold = self._cache.hold(load.digest) if load.cached else None  # first: see `Cache.hold`
        try:
            bundle = read_bundle(Path(load.bundle_dir), expected_digest=load.digest)
            return self._serving.stage.prepare(
                FetchedModel(load.name, load.version, bundle, hold=hold), load.number
            )
        except BaseException:
            if hold is not None:
                hold.release()
            raise


def _number(held: Generation | Load | None) -> int:
    return held.number if held is not None else 0
