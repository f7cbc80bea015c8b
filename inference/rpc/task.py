"""A call in the queue of the pool, and what its thread may ask of it."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from inference.rpc.receiving import Incoming, call_among

__all__ = ["Task", "local", "reached"]

#: Which argument of grpcio's function for unary calls is the behaviour.
_BEHAVIOUR: Final = 3


class Task:
    """A queued call; as much of a `Future` as grpcio uses."""

    __slots__ = (
        *("_callbacks", "arguments", "arrived", "begun", "counted", "done", "function", "incoming"),
        *("reached", "refusal", "unanswered"),
    )

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.arrived = self.begun = time.perf_counter()
        #: True once our own code has the request.
        self.reached = False
        self.unanswered: Callable[[float], None] | None = None
        #: The behaviour of a handler that refuses the call.
        self.refusal: Callable[[Any, Any], object] | None = None
        #: Whether admission counts it.
        self.counted = True
        self.incoming: Incoming | None = None
        self.done = False
        self._callbacks: list[Callable[[object], object]] = []

    def add_done_callback(self, callback: Callable[[object], object]) -> None:
        """Call `callback` when the task has ended, at once when it has."""
        self._callbacks.append(callback)
        if self.done:
            self._call_back()

    def end(self) -> None:
        """Note that it has ended."""
        self.done = True
        self._call_back()

    def refuse(self, refusal: Callable[[Any, Any], object]) -> None:
        """Let `refusal` answer in place of the behaviour that grpcio passes to its own function."""

        def refuse(data: object, context: object) -> object:
            reached()
            return refusal(data, context)

        self.arguments = (*self.arguments[:_BEHAVIOUR], refuse, *self.arguments[_BEHAVIOUR + 1 :])

    def cancel(self) -> None:
        """Cancel the call."""
        call = call_among(self.arguments)
        if call is not None:
            call.cancel()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread took the last one
                return
            callback(self)


class Local(threading.local):
    """What a thread of the pool works on."""

    task: Task | None = None


local = Local()


def reached() -> float:
    """Tell the pool that the call which this thread works on reached our own code, and return when it arrived.

    That is on the clock of `time.perf_counter`; now, when the call is none of the pool's.
    """
    task = local.task
    if task is None:
        return time.perf_counter()
    task.reached = True
    return task.arrived
