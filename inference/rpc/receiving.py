"""The message of a call, received before a thread is taken for the call.

grpcio hands a call to its thread pool as soon as it arrives; the thread then asks for the message and sleeps until
it is there. That wakes two threads for each call, which is a fifth of what a one-row call costs, and callers that
send no message take all threads. Here the message is asked for first, by whichever thread has the call in hand, and
a thread of the pool is woken once, when there is something to do.

Nothing public does this, so a little of `grpc._server` is used. Where a grpcio lacks that, `incoming_of` finds nothing,
and calls wait in their threads.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types

__all__ = ["MESSAGES", "Incoming", "Window", "incoming_of"]

#: Messages that may be in memory at one time without a thread that works on them: four for each thread, so that none
#: waits for the network. Of all other calls grpcio reads no more than their first 64 KiB.
MESSAGES: Final = 16
#: How wide the window may get while nothing comes, and how much wider at each look: a call that waits for its message
#: costs a few KiB, and 300 of them are through within a second.
_WIDEST: Final = 256
_WIDER: Final = 4
_NO_FLAGS: Final = 0
#: What is used of `grpc._server`, and how many arguments its function for unary calls gets with itself.
_USED: Final = (
    *("_unary_response_in_pool", "_receive_message", "_is_rpc_state_active", "_abort"),
    *("_RECEIVE_MESSAGE_TOKEN", "_CLOSED"),
)
_ARGUMENTS: Final = 7
_KNOWN: Final = all(hasattr(_server, name) for name in _USED)

_internals: Any = _server


class Incoming:
    """A unary call as grpcio hands it to a thread pool, before its message was asked for."""

    __slots__ = ("_call", "_deserialize", "_path", "_state")

    def __init__(self, event: Any, state: Any, deserialize: Any) -> None:  # noqa: ANN401  # grpcio's own
        self._call = event.call
        self._path = event.call_details.method
        self._state = state
        self._deserialize = deserialize

    def receive(self, then: Callable[[], object]) -> None:
        """Ask for the message, and call `then` once it is there, or is known never to come."""
        state = self._state
        with state.condition:
            if _internals._is_rpc_state_active(state):
                note = _internals._receive_message(state, self._call, self._deserialize)

                def received(event: Any) -> Any:  # noqa: ANN401  # as grpcio calls it
                    ended = note(event)
                    then()
                    return ended

                self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)
                state.due.add(_internals._RECEIVE_MESSAGE_TOKEN)
                return
        then()

    def message(self) -> Any:  # noqa: ANN401  # what the deserializer made
        """Return the message that was received; None when there is none, and the call has ended then."""
        state = self._state
        with state.condition:
            message, state.request = state.request, None
            if message is None and state.client is _internals._CLOSED:
                sentence = f'"{self._path}" requires exactly one request message.'  # grpcio's words
                _internals._abort(
                    state, self._call, cygrpc.StatusCode.unimplemented, sentence.encode("utf-8", "replace")
                )
            return message

    @property
    def has_message(self) -> bool:
        """Whether the message is there."""
        return self._state.request is not None

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()


def incoming_of(arguments: tuple[Any, ...]) -> tuple[Incoming, tuple[Any, ...]] | None:
    """Return the call among what grpcio submits, and the arguments for a call that is received already.

    None for whatever is no unary call, or not as this module knows it.
    """
    if not _KNOWN or len(arguments) != _ARGUMENTS or arguments[0] is not _internals._unary_response_in_pool:
        return None
    function, event, state, behaviour, _, deserialize, serialize = arguments
    incoming = Incoming(event, state, deserialize)
    return incoming, (function, event, state, behaviour, incoming.message, deserialize, serialize)


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
        incoming.receive(lambda: self._received(task))

    def _received(self, task: T) -> None:
        _, incoming = self._receiving.pop(task)
        if incoming.has_message:  # and not the end of a call without one
            self._came = True
            self._places = self._size
        self._ready(task)
