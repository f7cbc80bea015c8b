"""The place of one worker: there is a process in it, brought to the plan and watched, or soon another one."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Literal, NamedTuple

import structlog

from inference.workers.channel import Reply, WorkerError
from inference.workers.child import Child
from inference.workers.crew import Crew
from inference.workers.sums import Ledgers

__all__ = ["Means", "Seat", "SeatState", "WorkerInfo"]

SeatState = Literal["starting", "serving", "not_serving", "draining", "lost", "stopped"]

#: Measured: 0.45 s until a worker answers calls on an idle core; some seventy times that for busy nodes.
START_SECONDS: Final = 30.0
#: How often a worker is asked what it counted: what a killed one counted since then is lost.
REPORT_SECONDS: Final = 1.0
#: A worker that does not answer for so long hangs. Not measured: libraries may hold the interpreter for seconds
#: while they load a large model, and ending a sound worker is worse than noticing a hung one late.
HANG_SECONDS: Final = 15.0
#: Pauses before a lost worker is replaced: none after one that served for a while, then 0.5, 1, 2 … seconds.
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0
#: A worker whose channel has ended is about to end itself.
END_SECONDS: Final = 2.0
#: A worker that lived for so long is no part of a row of crashes.
SOUND_SECONDS: Final = 10.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference.workers")


class WorkerInfo(NamedTuple):
    """What `/health` says of a worker."""

    worker: int
    pid: int | None
    #: The core that it runs on; None when it is not pinned.
    core: int | None
    state: SeatState
    #: Number of the default model's generation; 0 when none serves.
    generation: int
    restarts: int
    #: Why the last process in this seat was lost; empty when none was.
    last_error: str


class Means(NamedTuple):
    """What all seats share."""

    crew: Crew
    ledgers: Ledgers
    #: Starts a process whose every reply goes to the argument. Raises `OSError`.
    spawn: Callable[[Callable[[Reply], None]], Child]
    #: The settings as a worker takes them.
    settings: dict[str, Any]
    port: int
    #: How long a worker may need to load one model.
    load_seconds: float
    #: Called when a worker serves, or is gone.
    notice: Callable[[], None]


class Seat:
    """Keeps one worker, in a thread of its own, from `start` until `close`."""

    def __init__(self, number: int, means: Means) -> None:
        self.number = number
        self._means = means
        self._closing = threading.Event()
        self._child: Child | None = None
        self._core: int | None = None
        self._open = False
        self._generation = 0
        self._in_a_row = 0
        self._condemned = ""
        self.cut_lines = 0
        self.restarts = 0
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    @property
    def open(self) -> bool:
        """Whether its worker answers calls."""
        return self._open

    @property
    def info(self) -> WorkerInfo:
        """What is known now."""
        child = self._child
        return WorkerInfo(
            self.number,
            child.pid if child is not None else None,
            self._core,
            self._state(),
            self._generation,
            self.restarts,
            self.last_error,
        )

    def start(self) -> None:
        """Begin to keep a worker."""
        self._thread.start()

    def send(self, method: str, **fields: object) -> "Future[Reply] | None":
        """Ask the worker without waiting; None when there is none."""
        child = self._child
        return child.send(method, **fields) if child is not None else None

    def _hear(self, reply: Reply) -> None:
        self._generation = reply.get("generation", self._generation)
        if "metrics" in reply:
            self._means.ledgers.update(self.number, reply["metrics"])

    def replace(self, reason: str) -> None:
        """End the worker that is there now, so that another one takes its place."""
        child = self._child
        if child is not None:
            self._condemned = reason
            child.kill()

    def close(self) -> None:
        """Replace the worker no more when it ends; end it now if it does not answer calls yet."""
        self._closing.set()
        if not self._open:
            self.replace("the server stops")

    def join(self, timeout_seconds: float) -> None:
        """Wait until its worker has ended after `close`; end it when the time is over."""
        if not self._thread.is_alive():
            return
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            self.replace("it did not end in time")
            self._thread.join()

    def _state(self) -> SeatState:
        if self._child is None:
            return "stopped" if self._closing.is_set() else "lost"
        return self._means.crew.plan.mode if self._open else "starting"

    def _run(self) -> None:
        while not self._closing.is_set():
            begun = time.monotonic()
            self._keep_one()
            if self._closing.is_set():
                return
            sound = time.monotonic() - begun >= SOUND_SECONDS
            self._in_a_row = 1 if sound else self._in_a_row + 1
            pause = self._pause_seconds()
            _log.error("worker lost", worker=self.number, reason=self.last_error, restart_in_seconds=pause)
            self._closing.wait(pause)

    def _pause_seconds(self) -> float:
        if self._in_a_row <= 1:
            return 0.0
        return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._in_a_row - 2, 16))

    def _keep_one(self) -> None:
        self._condemned = ""
        try:
            child = self._child = self._means.spawn(self._hear)
        except OSError as error:  # no memory, no processes
            self._lose(f"it could not be started: {error}")
            return
        if self._closing.is_set():  # `close` may have looked just before there was a child
            child.kill()
        reason = ""
        try:
            self._bring_up(child)
            self._watch(child)
        except WorkerError as error:
            reason = "" if child.lost else str(error)
            child.kill()
        self._open = False
        self._means.crew.leave(self)
        self.cut_lines += child.end(END_SECONDS)
        self._child, self._generation = None, 0
        self._means.ledgers.fold(self.number)
        self._lose(self._condemned or reason or child.how)

    def _lose(self, reason: str) -> None:
        if not self._closing.is_set():
            self.restarts += 1
            self.last_error = reason
        self._means.notice()

    def _bring_up(self, child: Child) -> None:
        begun = time.monotonic()
        means, crew = self._means, self._means.crew
        setup = child.ask("setup", START_SECONDS, worker=self.number, settings=means.settings)
        self._core = setup["core"]
        while True:
            plan = crew.plan
            loads = 2 * len(plan.slots) + 1
            child.ask("restore", START_SECONDS + loads * means.load_seconds, plan=plan.to_json())
            if crew.join(self, plan):  # from here on it hears of changes, and may answer calls
                break
        child.ask("open", START_SECONDS, port=means.port)
        self._open = True
        means.notice()
        seconds = round(time.monotonic() - begun, 3)
        _log.info(
            "worker started", worker=self.number, worker_pid=child.pid, core=self._core, seconds=seconds
        )

    def _watch(self, child: Child) -> None:
        while not child.wait_lost(REPORT_SECONDS):
            child.ask("report", HANG_SECONDS)
