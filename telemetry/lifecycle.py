"""How a process ends: the first signal asks it to drain, the second ends it at once."""

import contextlib
import os
import queue
import signal
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
        self._asked = False
        # Not an Event: a signal that arrives within Event.wait() would find its lock held by this very
        # thread, and hang for ever. SimpleQueue.put is made for that.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
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
        return self._asked

    def stop(self) -> None:
        """Ask to stop from within, as the first signal does."""
        self._asked = True
        self._wake.put(None)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block until the process is asked to stop, or the time is over; return whether it was asked."""
        timeout = None if timeout_seconds is None else max(0.0, timeout_seconds)
        with contextlib.suppress(queue.Empty):
            self._wake.put(self._wake.get(timeout=timeout))  # and stays, for whoever waits next
        return self._asked

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self.stop()
