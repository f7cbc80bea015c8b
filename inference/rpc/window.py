"""How many messages are asked for at one time."""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from inference.rpc.receiving import Incoming

__all__ = ["MESSAGES", "Window"]

#: Messages that may be in memory at one time without a thread that works on them: four for each thread, so that none
#: waits for the network. Of all other calls grpcio reads no more than their first 64 KiB.
MESSAGES: Final = 16
#: How wide the window may get while nothing comes, and how much wider at each look: a call that waits for its message
#: costs a few KiB, and 300 of them are through within a second.
_WIDEST: Final = 256
_WIDER: Final = 4

T = TypeVar("T")


class Window(Generic[T]):
    """Asks for the messages of only so many calls at one time; `ready` gets each call with its message.

    While no message comes at all the window widens, so that silent callers do not keep others waiting. Calls are
    known by whatever stands for them in the pool.
    """

    def __init__(self, ready: Callable[[T], object], size: int = MESSAGES) -> None:
        self._ready = ready
        self._lock = threading.Lock()
        self._size = self._places = size
        #: Whether a message came since the last look; True before the first one, since it is early then.
        self._came = True
        self._waiting: deque[tuple[T, Incoming]] = deque()
        #: Calls in the window; their places may be given to others.
        self._inside: set[T] = set()
        #: Calls whose messages were asked for and are not there, and since when.
        self._receiving: dict[T, tuple[float, Incoming]] = {}

    def enter(self, task: T, incoming: Incoming) -> None:
        """Ask for the message of `incoming`, now or when there is room."""
        with self._lock:
            if len(self._inside) >= self._places:
                self._waiting.append((task, incoming))
                return
            self._inside.add(task)
        self._receive(task, incoming)

    def leave(self, task: T) -> None:
        """Give the place of a call that has ended to the next one."""
        with self._lock:
            if task not in self._inside:
                return
            self._inside.remove(task)
            if not self._waiting:
                return
        self._fill()

    def pass_over(self, seconds: float) -> None:
        """Give the places of calls whose message does not come to others; widen the window if none came at all."""
        overdue = self.overdue(seconds)
        if not self._waiting:
            self._places = self._size
        elif not self._came and self._inside.issubset([task for task, _ in overdue]):
            self._places = min(self._places * _WIDER, max(_WIDEST, self._size))
        self._came = False
        for task, _ in overdue:
            self.leave(task)
        self._fill()

    def cancel(self, seconds: float) -> None:
        """Cancel the calls whose message has not come for so long."""
        for _, incoming in self.overdue(seconds):
            incoming.cancel()

    def overdue(self, seconds: float) -> list[tuple[T, Incoming]]:
        """Return the calls whose message was asked for so long ago and is not there, the oldest first."""
        oldest = time.perf_counter() - seconds
        receiving = [*self._receiving.items()]
        return [(task, incoming) for task, (since, incoming) in receiving if since < oldest]

    def _fill(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or len(self._inside) >= self._places:
                    return
                task, incoming = self._waiting.popleft()
                self._inside.add(task)
            self._receive(task, incoming)

    def _receive(self, task: T, incoming: Incoming) -> None:
        self._receiving[task] = (time.perf_counter(), incoming)
        incoming.receive(partial(self._received, task))

    def _received(self, task: T) -> None:
        _, incoming = self._receiving.pop(task)
        if incoming.has_message:  # and not the end of a call without one
            self._came = True
            self._places = self._size
        self._ready(task)
