"""How a process ends: the first signal asks it to drain, the second ends it at once."""

import contextlib
import os
import queue
import signal
import socket
import threading
from types import FrameType
from typing import Final

__all__ = ["FLUSH_SECONDS", "TRACE_FLUSH_SECONDS", "StopSignals"]

#: How long the queue of events and log lines may take to be written at the end of a process.
FLUSH_SECONDS: Final = 5.0
#: How long the spans that were recorded may take to reach their collector at the end of a process.
TRACE_FLUSH_SECONDS: Final = 3.0

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: What ends the thread that reads signals; no signal has this number.
_NO_SIGNAL: Final = 0


class StopSignals:
    """Turns SIGINT and SIGTERM into an event that threads wait for.

    Use it as a context manager in the main thread. A second signal ends the process at once with
    128 + signal number, the shell's convention, whatever the main thread does: Python runs its signal handlers
    there alone, and not before a wait of that thread ends when the kernel gave the signal to another thread. So
    the C part of Python, which runs in whichever thread has it, writes each signal to a socket that a thread of
    this class reads.
    """

    def __init__(self) -> None:
        self._asked = False
        # Not an Event: a signal that arrives within Event.wait() would find its lock held by this very
        # thread, and hang for ever. SimpleQueue.put is made for that.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._previous: dict[signal.Signals, object] = {}
        self._previous_descriptor = -1

    def __enter__(self) -> "StopSignals":
        self._read_end, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)  # as set_wakeup_fd demands
        self._reader = threading.Thread(target=self._read, name="signals", daemon=True)
        self._reader.start()
        self._previous_descriptor = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
        signal.set_wakeup_fd(self._previous_descriptor)
        self._write_end.send(bytes([_NO_SIGNAL]))
        self._reader.join()
        self._read_end.close()
        self._write_end.close()

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

    def _read(self) -> None:
        while (number := self._read_end.recv(1)[0]) != _NO_SIGNAL:
            if number not in _SIGNALS:
                continue  # another handler of this process has it
            if self._asked:
                os._exit(128 + number)
            self.stop()


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Have Python write the signal to the socket, which it does for signals that have a handler."""
