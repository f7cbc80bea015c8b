"""The threads that run calls, and the count of those that wait for them.

grpcio queues calls for its thread pool without bound. So `WorkPool` counts the calls of the inference services
from their arrival; `dispatch` refuses one that is too many. It is no `ThreadPoolExecutor`, since the futures of
that one cost more than our own part of a call: each has a condition, and each submission takes two locks.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from inference.core import Admission
from inference.rpc.receiving import incoming_of
from inference.rpc.task import Task, local
from inference.rpc.window import Window

__all__ = ["MOST_SILENT", "WORK_THREADS", "WorkPool"]

#: How long the message of a call may take to come once a thread waits for it: 16 MiB at 7 Mbit/s.
MESSAGE_SECONDS: Final = 20.0
#: A thread that waits this long for a message is not counted on any more: another one takes its place.
_STUCK_SECONDS: Final = 0.25
#: Calls that wait for their message for that long do not count in admission, or silent callers would refuse everybody;
#: but only so many, since their messages may all come at one time. Beyond it the oldest are cancelled.
MOST_SILENT: Final = 256
#: 4 is what measured best on one core, for 1 and for 64 rows, at 8 and at 32 calls at one time: with 8 threads a call
#: costs 1.03 × the CPU, with 2 up to 1.08 ×, with 1 up to 1.5 × (docs/decisions/0005 has how it is measured).
WORK_THREADS: Final = 4

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class WorkPool:
    """Threads whose tasks count as in flight from the moment they are submitted.

    A call of grpcio comes to a thread with its message. Where that is not possible, the thread waits for it, and
    another one takes its place when that takes long. Either way, calls whose message does not come are cancelled.
    """

    def __init__(self, admission: Admission, threads: int = WORK_THREADS) -> None:
        self._admission = admission
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._window: Window[Task] = Window(self._ready)
        #: Held to change whether a task that waits for its message is counted.
        self._counting = threading.Lock()
        self._unanswered: Callable[[float], None] | None = None
        self._refusal: Callable[[Any, Any], object] | None = None
        self._wanted = threads
        self._running: dict[threading.Thread, Task | None] = {}
        self._ended = threading.Event()
        for _ in range(threads):
            self._start_thread()
        # Daemons, as all of these threads: at the end of the process nobody waits for a call that outlived its grace.
        threading.Thread(target=self._watch, name="rpc-watch", daemon=True).start()

    def expect(
        self, unanswered: Callable[[float], None], refusal: Callable[[Any, Any], object] | None = None
    ) -> None:
        """Say, from the thread that submits, what to do if the next task ends without reaching our code.

        That happens when its caller goes away, or sends no message or too large a one; the argument is when
        the call arrived. `refusal` answers instead when its message comes late, and admission is full by then.
        """
        self._unanswered, self._refusal = unanswered, refusal

    def submit(self, function: Callable[..., object], /, *arguments: Any) -> Task:  # noqa: ANN401  # whatever grpcio passes
        """Queue a task."""
        task = Task(function, arguments)
        task.unanswered, self._unanswered = self._unanswered, None
        task.refusal, self._refusal = self._refusal, None
        self._admission.enter()
        found = incoming_of(arguments)
        if found is None:
            self._queue.put(task)
        else:
            task.incoming, task.arguments = found
            self._window.enter(task, task.incoming)
        return task

    def _ready(self, task: Task) -> None:
        with self._counting:
            late = not task.counted and task.incoming is not None and task.incoming.has_message
            task.incoming = None
            if late and task.refusal is not None and self._admission.full:
                task.refuse(task.refusal)
            elif late:
                self._admission.enter()
                task.counted = True
        self._queue.put(task)

    def _mind_silent(self) -> None:
        self._window.pass_over(_STUCK_SECONDS)
        self._window.cancel(MESSAGE_SECONDS)
        silent = self._window.overdue(_STUCK_SECONDS)
        for task, _ in silent:
            with self._counting:
                if task.counted and task.incoming is not None:
                    task.counted = False
                    self._admission.leave()
        for _, incoming in silent[: max(0, len(silent) - MOST_SILENT)]:
            incoming.cancel()

    def shutdown(self) -> None:
        """Let the threads end when they have nothing more to do."""
        self._ended.set()
        for _ in range(len(self._running)):
            self._queue.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="rpc", daemon=True)
        self._running[thread] = None
        thread.start()

    def _run(self) -> None:
        thread = threading.current_thread()
        # Threads beyond the wanted ones end when they are free again.
        while not self._is_surplus() and (task := self._queue.get()) is not None:
            task.begun = time.perf_counter()
            self._running[thread] = local.task = task
            try:
                task.function(*task.arguments)
            except Exception:  # noqa: BLE001  # grpcio's own code; a thread lost here would never come back
                _log.exception("a call ended with an error outside of its handler")
            finally:
                self._running[thread] = local.task = None
                self._window.leave(task)
                if task.counted:
                    self._admission.leave()
                if not task.reached and task.unanswered is not None:
                    task.unanswered(task.arrived)
                task.end()
            del task  # or its request would stay in memory until the next one comes
        self._running.pop(thread, None)

    def _is_surplus(self) -> bool:
        surplus = len(self._running) - self._wanted
        return surplus > 0 and surplus > len(self._stuck())

    def _stuck(self, seconds: float = _STUCK_SECONDS) -> list[Task]:
        oldest = time.perf_counter() - seconds
        running = [*self._running.values()]
        return [task for task in running if task is not None and not task.reached and task.begun < oldest]

    def _watch(self) -> None:
        while not self._ended.wait(_STUCK_SECONDS):
            for _ in range(self._wanted + len(self._stuck()) - len(self._running)):
                self._start_thread()
            self._mind_silent()
            for task in self._stuck(MESSAGE_SECONDS):
                task.cancel()
