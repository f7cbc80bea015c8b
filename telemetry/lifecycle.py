"""How a process ends: the first signal asks it to drain, the second ends it at once."""

import os
import signal
import threading
from types import FrameType
from typing import Final

__all__ = ["StopSignals"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Turns SIGINT and SIGTERM into an event that the main thread waits for.

    Use it as a context manager in the main thread. A second signal ends the process at once with
    128 + signal number, the shell's convention.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    @property
    def received(self) -> bool:
        """True once the process was asked to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask to stop from within, as the first signal does."""
        self._stop.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block until the process is asked to stop, or the time is over; return whether it was asked."""
        return self._stop.wait(timeout_seconds)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()
