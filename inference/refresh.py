"""Looking again, every now and then, at what the model URIs name."""

import random
import threading
from collections.abc import Callable
from typing import Final

import structlog

from inference.errors import InferenceError

__all__ = ["AutoRefresh"]

#: Part of the interval by which each pause is shorter or longer, so that a fleet does not ask in one moment.
_JITTER_RATIO: Final = 0.2

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class AutoRefresh:
    """Calls `reload` about every `interval_seconds` in a thread of its own, from `start` to `stop`."""

    def __init__(self, reload: Callable[[], object], interval_seconds: float) -> None:
        self._reload = reload
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)

    def start(self) -> None:
        """Begin with a pause."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no reload any more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_seconds()):
            try:
                self._reload()
            except InferenceError:
                continue  # the swapper has said and counted it
            except Exception:  # noqa: BLE001  # the edge of a thread; the next look may go well
                _log.exception("the automatic refresh failed")

    def _pause_seconds(self) -> float:
        return self._interval_seconds * random.uniform(1 - _JITTER_RATIO, 1 + _JITTER_RATIO)
