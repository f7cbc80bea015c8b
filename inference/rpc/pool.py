"""The threads that run calls, and the count of those that wait for them.

grpcio queues calls for its thread pool without bound. So `WorkPool` counts the calls of the inference services
from their arrival; `dispatch` refuses one that is too many. It is no `ThreadPoolExecutor`, since the futures of
that one cost more than our own part of a call: each has a condition, and each submission takes two locks.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from inference.core import Admission

__all__ = ["WORK_THREADS", "WorkPool", "arrived_at", "mark_answered"]

#: 8 is what measured best on one core: 1 thread costs 1.3 × the CPU of a call, 32 cost 1.15 ×.
WORK_THREADS: Final = 8

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class _Local(threading.local):
    arrived = 0.0
    answered = False


_local = _Local()


def arrived_at() -> float:
    """Return when the call that this thread works on arrived, on the clock of `time.perf_counter`."""
    return _local.arrived or time.perf_counter()


def mark_answered() -> None:
    """Tell the pool that the call which this thread works on reached our own code."""
    _local.answered = True


class _Task:
    """A queued call; as much of a `Future` as grpcio uses."""

    __slots__ = ("_callbacks", "arguments", "arrived", "done", "function", "unanswered")

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.arrived = time.perf_counter()
        self.unanswered: Callable[[float], None] | None = None
        self.done = False
        self._callbacks: deque[Callable[[object], object]] = deque()

    def add_done_callback(self, callback: Callable[[object], object]) -> None:
        """Call `callback` when the task has ended, at once when it has."""
        self._callbacks.append(callback)
        if self.done:
            self._call_back()

    def end(self) -> None:
        """Note that it has ended."""
        self.done = True
        self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # another thread took the last one
                return
            callback(self)


class WorkPool:
    """Threads whose tasks count as in flight from the moment they are submitted."""

    def __init__(self, admission: Admission, threads: int = WORK_THREADS) -> None:
        self._admission = admission
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._unanswered: Callable[[float], None] | None = None
        # Daemons: at the end of the process nobody waits for a call that outlived its grace.
        self._threads = [
            threading.Thread(target=self._run, name=f"rpc-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def expect(self, unanswered: Callable[[float], None]) -> None:
        """Say, from the thread that submits, what to do if the next task ends without reaching our code.

        That happens when its caller goes away, or sends no message or too large a one; the argument is when
        the call arrived.
        """
        self._unanswered = unanswered

    def submit(self, function: Callable[..., object], /, *arguments: Any) -> _Task:  # noqa: ANN401  # whatever grpcio passes
        """Queue a task."""
        task = _Task(function, arguments)
        task.unanswered, self._unanswered = self._unanswered, None
        self._admission.enter()
        self._queue.put(task)
        return task

    def shutdown(self) -> None:
        """Let the threads end when they have nothing more to do."""
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            _local.arrived = task.arrived
            _local.answered = False
            try:
                task.function(*task.arguments)
            except Exception:  # noqa: BLE001  # grpcio's own code; a thread lost here would never come back
                _log.exception("a call ended with an error outside of its handler")
            finally:
                self._admission.leave()
                if not _local.answered and task.unanswered is not None:
                    task.unanswered(task.arrived)
                task.end()
            del task  # or its request would stay in memory until the next one comes
