"""The supervisor's end of the socket pair to one worker: requests out, replies in, each a line of JSON."""

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

__all__ = ["Channel", "Reply", "WorkerError", "WorkerLostError"]

Reply = dict[str, Any]

_BLOCK_BYTES: Final = 1 << 16


class WorkerError(Exception):
    """A worker says that it cannot do what it was asked; the sentence is its own."""


class WorkerLostError(WorkerError):
    """A worker died, or does not answer."""


class Channel:
    """Asks, and hands each reply to whoever waits for it. Any thread may ask.

    `hear` hears every reply before that, in the order in which the worker gave them, and none after `close`.
    """

    def __init__(self, connection: socket.socket, hear: Callable[[Reply], None]) -> None:
        self._connection = connection
        self._hear = hear
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        #: Set when nothing comes any more: the worker has died, or `close` was called.
        self.lost: Final = threading.Event()
        self._reader = threading.Thread(target=self._read, name="worker-channel", daemon=True)
        self._reader.start()

    def send(self, method: str, **fields: object) -> "Future[Reply]":
        """Ask without waiting; the future gives the reply, or raises `WorkerError`."""
        future: Future[Reply] = Future()
        number = next(self._numbers)
        line = json.dumps({"id": number, "method": method, **fields}).encode() + b"\n"
        with self._lock:
            if self.lost.is_set():
                future.set_exception(WorkerLostError("it has died"))
                return future
            self._waiting[number] = future
            if not self._write(line):  # its buffer is full of requests: it hangs
                self.lost.set()
        if self.lost.is_set():
            self._fail_all("it takes no requests any more")
        return future

    def ask(self, method: str, timeout_seconds: float, **fields: object) -> Reply:
        """Ask and wait for the reply. Raises `WorkerError`."""
        return self.wait(self.send(method, **fields), timeout_seconds)

    @staticmethod
    def wait(future: "Future[Reply]", timeout_seconds: float) -> Reply:
        """Wait for a reply. Raises `WorkerError`."""
        try:
            return future.result(max(0.0, timeout_seconds))
        except FutureTimeoutError:
            raise WorkerLostError(f"it did not answer within {timeout_seconds:.3g} seconds") from None

    def close(self) -> None:
        """Hang up; the worker ends when it sees that."""
        self.lost.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # wakes the reader, as closing alone does not
        self._reader.join()
        self._connection.close()
        self._fail_all("it was ended")

    def _write(self, line: bytes) -> bool:
        try:
            return self._connection.send(line, socket.MSG_DONTWAIT) == len(line)
        except OSError:
            return False

    def _read(self) -> None:
        rest = b""
        try:
            while block := self._connection.recv(_BLOCK_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._settle(json.loads(line))
        except OSError:  # as the end of the channel
            pass
        finally:
            self.lost.set()
            self._fail_all("it has died")

    def _settle(self, reply: Reply) -> None:
        with self._lock:
            future = self._waiting.pop(reply["id"], None)
        if future is None:
            return
        self._hear(reply)
        if "error" in reply:
            future.set_exception(WorkerError(reply["error"]))
        else:
            future.set_result(reply)

    def _fail_all(self, reason: str) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            future.set_exception(WorkerLostError(reason))
