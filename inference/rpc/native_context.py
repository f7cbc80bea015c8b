"""One call of the native transport as its behaviour sees it, and what callers have not taken of their answers.

`NativeContext` has of `grpc.ServicerContext` what `inference.rpc.unary` asks for.
"""

import functools
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import grpc
from pygrpc_native import NativeGrpcFront

__all__ = ["CallAbortedError", "Metadata", "NativeContext", "Untaken", "sendable"]

Metadata = Sequence[tuple[str, str | bytes]]

#: pygrpc-native refuses to send any other name that begins with `grpc-`.
_STATUS_DETAILS: Final = "grpc-status-details-bin"
#: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Header-Name.
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
#: The transport sees a deadline pass by a clock of its own; a call that ends so close to its deadline met it.
_CLOCKS_DIFFER_SECONDS: Final = 0.005
#: How often it is asked what callers took; asking takes 15 us.
_SETTLE_SECONDS: Final = 0.01


class CallAbortedError(Exception):
    """Ends a behaviour with `status`."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__(status.code, status.details)
        self.status: Final = status


class NativeContext:
    """A call from its arrival to its end."""

    __slots__ = (
        "_active",
        "_callbacks",
        "_deadline",
        "_metadata",
        "_peer",
        "answered",
        "call_id",
        "trailers",
    )

    def __init__(self, call_id: int, metadata: Metadata, peer: str, remaining_seconds: float | None) -> None:
        self.call_id = call_id
        self.trailers: Metadata = ()
        #: Whether something was sent, so that nothing else may be.
        self.answered = False
        self._metadata = metadata
        self._peer = peer
        self._deadline = math.inf if remaining_seconds is None else time.monotonic() + remaining_seconds
        self._active = True
        self._callbacks: deque[Callable[[], object]] = deque()

    def invocation_metadata(self) -> Metadata:
        """Return the headers; values are bytes where the name ends with `-bin`."""
        return self._metadata

    def peer(self) -> str:
        """Tell where the call comes from: `ipv4:127.0.0.1:4711`."""
        return self._peer

    def is_active(self) -> bool:
        """Tell whether the caller still waits."""
        return self._active

    def time_remaining(self) -> float:
        """Return the seconds until the deadline, at least 0; infinity without one."""
        return max(0.0, self._deadline - time.monotonic())

    def set_trailing_metadata(self, trailers: Metadata) -> None:
        """Say what goes out with the answer."""
        self.trailers = trailers

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Call `callback` when the call has ended; False, and it is not called, when it has already."""
        if not self._active:
            return False
        self._callbacks.append(callback)
        if not self._active:  # it ended in between, maybe without seeing this one
            self._call_back()
        return True

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the behaviour."""
        raise CallAbortedError(status)

    def cancel(self) -> None:
        """Note that the caller went away, or that the deadline passed."""
        now = time.monotonic()
        if self._deadline - now < _CLOCKS_DIFFER_SECONDS:
            self._deadline = now
        self.end()

    def end(self) -> None:
        """Note that the call has ended, as often as you like."""
        self._active = False
        if self._callbacks:
            self._call_back()

    def take_callbacks(self) -> list[Callable[[], object]]:
        """Return the callbacks, which `end` calls no more."""
        taken = []
        while self._callbacks:
            try:
                taken.append(self._callbacks.popleft())
            except IndexError:  # another thread took the last one
                break
        return taken

    def _call_back(self) -> None:
        for callback in self.take_callbacks():
            callback()


def sendable(trailers: Metadata) -> Metadata:
    """Return what the transport sends of `trailers`. Raises `ValueError` for what is no metadata.

    It sends `grpc-retry-pushback-ms` under no circumstances; google.rpc.RetryInfo, among the details, says the same.
    """
    kept = []
    for name, value in trailers:
        binary = _checked(name)
        if binary is None:
            continue
        good = isinstance(value, bytes) if binary else isinstance(value, str) and _is_text(value)
        if not good:  # the transport would send some of it, and let the caller wait for ever for the rest
            raise ValueError(f"the trailer {name} has a value that gRPC cannot send: {value!r}")
        kept.append((name, value))
    return kept


@functools.lru_cache(256)
def _checked(name: str) -> bool | None:
    """Tell whether values of this name are bytes; None for a name that cannot be sent."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name a trailer")
    if name.startswith("grpc-") and name != _STATUS_DETAILS:
        return None
    return name.endswith("-bin")


def _is_text(value: str) -> bool:
    return value.isascii() and value.isprintable()


class Untaken:
    """What was answered and is not on the wire yet.

    The transport does not tell when a caller has taken its answer, but it counts, by method, the calls that ended
    and the bytes that they got. So it is known how much is under way, and not whose it is: when fewer bytes are
    under way than are held, the oldest answers count as taken.
    """

    def __init__(self, front: NativeGrpcFront, paths: Sequence[str]) -> None:
        self._front = front
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._answered_bytes = 0
        self._held: deque[tuple[int, list[Callable[[], object]]]] = deque()
        self._held_bytes = 0
        self._settled_at = 0.0

    def count(self, size_bytes: int) -> None:
        """Count an answer, before it is handed to the transport; a negative one when it was not taken over."""
        with self._lock:
            self._answered_bytes += size_bytes

    def hold(self, size_bytes: int, callbacks: list[Callable[[], object]]) -> None:
        """Call back when the caller has taken an answer of this size."""
        with self._lock:
            self._held.append((size_bytes, callbacks))
            self._held_bytes += size_bytes

    def settle(self) -> None:
        """Call back for what was taken; cheap enough to be called for every call."""
        if not self._held or time.monotonic() - self._settled_at < _SETTLE_SECONDS:
            return
        self._settled_at = time.monotonic()
        calls, size_bytes = self.under_way()
        for callback in self._taken(size_bytes if calls else 0):
            callback()

    def under_way(self) -> tuple[int, int]:
        """Return how many calls have not ended, and how many bytes of answers were not taken."""
        counters = self._front.metrics()
        if counters is None:
            return 0, 0
        started = ended = taken_bytes = 0
        for path in self._paths:
            method = counters["methods"][path]
            started += method["started"]
            for status in method["status"].values():
                ended += status["count"]
                taken_bytes += status["sent"]["sum"]
        return started - ended, self._answered_bytes - taken_bytes

    def _taken(self, under_way_bytes: int) -> list[Callable[[], object]]:
        found = []
        with self._lock:
            while self._held and self._held_bytes > under_way_bytes:
                size_bytes, callbacks = self._held.popleft()
                self._held_bytes -= size_bytes
                found += callbacks
        return found
