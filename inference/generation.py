"""A model in service, and the one reference that says which one that is."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from inference.artifacts import Bundle, Predictor
from inference.errors import NotReadyError
from inference.metrics import PredictionCounters
from inference.signature import Signature

__all__ = ["Generation", "ModelHolder"]


class _InFlight:
    """How many requests use a generation; guarded by the lock of its holder."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One loaded model and everything that is derived from it once instead of at each request."""

    number: int
    name: str
    version: str
    bundle: Bundle
    predictor: Predictor
    signature: Signature
    #: Class labels in class-index order; empty for regression.
    classes: tuple[str, ...]
    counters: PredictionCounters
    loaded_at: datetime
    _in_flight: _InFlight = field(default_factory=_InFlight, init=False, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Digest of the bundle."""
        return self.bundle.digest

    @property
    def in_flight(self) -> int:
        """Requests that use this generation now."""
        return self._in_flight.count


class ModelHolder:
    """Holds the generation that serves and the one before it.

    Requests take the current generation by `acquire` and give it back by `release`; a switch is one store of
    one reference, so each request sees exactly one generation from its first step to its last.
    """

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        self._current: Generation | None = None
        self._previous: Generation | None = None

    @property
    def current(self) -> Generation | None:
        """The generation that serves, without taking it."""
        return self._current

    @property
    def previous(self) -> Generation | None:
        """The generation that served before, kept loaded for a rollback."""
        return self._previous

    def acquire(self) -> Generation:
        """Take the current generation. Raises `NotReadyError` when there is none."""
        with self._changed:
            generation = self._current
            if generation is None:
                raise NotReadyError("no model is loaded yet; try again when /health/ready answers 200")
            generation._in_flight.count += 1
            return generation

    def release(self, generation: Generation) -> None:
        """Give back what `acquire` gave."""
        with self._changed:
            generation._in_flight.count -= 1
            if generation._in_flight.count == 0 and generation is not self._current:
                self._changed.notify_all()

    def switch(self, generation: Generation) -> Generation | None:
        """Let `generation` serve from now on and return the one that it replaces."""
        with self._changed:
            replaced, self._current = self._current, generation
            self._previous = replaced
            return replaced

    def drain(self, generation: Generation, timeout_seconds: float) -> bool:
        """Wait until no request uses `generation`; return whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: generation._in_flight.count == 0, timeout_seconds)
