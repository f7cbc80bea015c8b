"""Ends what takes too long, with a timer that runs only while something is under way."""

import threading
import time
from collections.abc import Callable, Hashable

__all__ = ["Overseer"]


class Overseer:
    """Calls `cancel` of whatever was begun and is not ended after `seconds`, and at most twice that."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._begun: dict[Hashable, tuple[float, Callable[[], object]]] = {}
        self._awake = False

    def begin(self, task: Hashable, cancel: Callable[[], object]) -> None:
        """Give `task` its time."""
        with self._lock:
            self._begun[task] = (time.monotonic(), cancel)
            if not self._awake:
                self._wake()

    def end(self, task: Hashable) -> None:
        """Forget `task`, if it was begun."""
        with self._lock:
            self._begun.pop(task, None)

    def _wake(self) -> None:
        self._awake = True
        timer = threading.Timer(self._seconds, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        oldest = time.monotonic() - self._seconds
        with self._lock:
            late = [cancel for begun, cancel in self._begun.values() if begun <= oldest]
            self._awake = False
            if self._begun:
                self._wake()
        for cancel in late:
            cancel()
