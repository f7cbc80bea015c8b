"""A model in service: what a request needs of it, derived once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from inference.artifacts import Bundle, Predictor
from inference.metrics import PredictionCounters
from inference.signature import Signature

__all__ = ["Generation"]


class _InFlight:
    """How many requests use a generation; guarded by the lock of the catalog."""

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
    #: Lets the cache evict the bundle; called when this generation can serve no more.
    release_bundle: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    _in_flight: _InFlight = field(default_factory=_InFlight, init=False, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Digest of the bundle."""
        return self.bundle.digest

    @property
    def in_flight(self) -> int:
        """Requests that use this generation now."""
        return self._in_flight.count

    def wait_unused(self, changed: threading.Condition, timeout_seconds: float) -> bool:
        """Wait, holding `changed`, until no request uses this; return whether that came true in time."""
        return changed.wait_for(lambda: self._in_flight.count == 0, timeout_seconds)
