"""A unary call of grpcio without its waits: the message received before a thread is taken, and the answer sent at once.

grpcio hands a call to its thread pool as soon as it arrives; the thread then asks for the message and sleeps until
it is there. That wakes two threads for each call, which is a fifth of what a one-row call costs, and callers that
send no message take all threads. Here the message is asked for first, by whichever thread has the call in hand, and
a thread of the pool is woken once, when there is something to do.

What grpcio then does around a behaviour serves tracers, serializers and codes that no behaviour of ours has; without
it a call costs 5 us less (docs/performance.md). A behaviour that fails or does more is left to grpcio's own code.

Nothing public does this, so a little of `grpc._server` is used. Where a grpcio lacks that, `incoming_of` finds nothing,
and calls wait in their threads.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types

__all__ = ["Incoming", "call_among", "incoming_of"]

_NO_FLAGS: Final = 0
#: What is used of `grpc._server`, and how many arguments its function for unary calls gets with itself.
_USED: Final = (
    *("_unary_response_in_pool", "_is_rpc_state_active", "_abort", "_possibly_finish_call", "_Context"),
    *("_call_behavior", "_status", "_send_status_from_server", "_OPEN", "_CLOSED", "_CANCELLED"),
    *("_RECEIVE_MESSAGE_TOKEN", "_SEND_STATUS_FROM_SERVER_TOKEN"),
)
_ARGUMENTS: Final = 7
_KNOWN: Final = all(hasattr(_server, name) for name in _USED)

_internals: Any = _server


class Incoming:
    """A unary call as grpcio hands it to a thread pool, before its message was asked for."""

    __slots__ = ("_call", "_path", "_state")

    def __init__(self, event: Any, state: Any) -> None:  # noqa: ANN401  # grpcio's own
        self._call = event.call
        self._path = event.call_details.method
        self._state = state

    def receive(self, then: Callable[[], object]) -> None:
        """Ask for the message, and call `then` once it is there, or is known never to come."""
        state = self._state

        def received(event: Any) -> Any:  # noqa: ANN401  # as grpcio calls it
            message = event.batch_operations[0].message()
            with state.condition:
                if message is not None:
                    state.request = message
                elif state.client is _internals._OPEN:
                    state.client = _internals._CLOSED
                ended = _internals._possibly_finish_call(state, _internals._RECEIVE_MESSAGE_TOKEN)
            then()
            return ended

        with state.condition:
            if _internals._is_rpc_state_active(state):
                self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)
                state.due.add(_internals._RECEIVE_MESSAGE_TOKEN)
                return
        then()

    def message(self) -> bytes | None:
        """Return the message that was received; None when there is none, and the call has ended then."""
        state = self._state
        with state.condition:
            message: bytes | None
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
    _, event, state, behaviour, _, deserialize, serialize = arguments
    if deserialize is not None or serialize is not None:  # ours take and give bytes
        return None
    incoming = Incoming(event, state)
    return incoming, (_answer, event, state, behaviour, incoming)


def call_among(arguments: Iterable[object]) -> Any | None:  # noqa: ANN401  # grpcio's own
    """Return the call among the arguments of a function of grpcio, which has it in an event; None without one."""
    found = (getattr(argument, "call", None) for argument in arguments)
    return next((call for call in found if call is not None), None)


def _answer(event: Any, state: Any, behaviour: Callable[[bytes, Any], bytes], incoming: Incoming) -> None:  # noqa: ANN401  # grpcio's own
    """Run a behaviour on the message that was received, and send what comes of it."""
    message = incoming.message()
    if message is None:
        return
    try:
        response = behaviour(message, _internals._Context(event, state, None))
    except Exception as error:  # noqa: BLE001  # grpcio looks what it is: mostly it is how a behaviour aborts
        _internals._call_behavior(event, state, _raising([error]), message, None)
        return
    if not _is_plain(state):
        _internals._status(event, state, response)
        return
    token = _internals._SEND_STATUS_FROM_SERVER_TOKEN
    with state.condition:
        if state.client is _internals._CANCELLED:
            return
        operations = (
            cygrpc.SendStatusFromServerOperation(
                state.trailing_metadata, cygrpc.StatusCode.ok, b"", _NO_FLAGS
            ),
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            cygrpc.SendMessageOperation(response, _NO_FLAGS),
        )
        event.call.start_server_batch(operations, _internals._send_status_from_server(state, token))
        state.statused = True
        state.due.add(token)


def _is_plain(state: Any) -> bool:  # noqa: ANN401  # grpcio's own
    """Tell whether a behaviour left all to be sent but its answer and the trailers as it was."""
    return (
        state.code is None
        and state.details is None
        and state.initial_metadata_allowed
        and state.compression_algorithm is None
        and not state.disable_next_compression
    )


def _raising(errors: list[Exception]) -> Callable[[object, object], NoReturn]:
    def fail(_message: object, _context: object) -> NoReturn:
        # Taken out of the list: an error that its own traceback leads back to would keep the request in memory.
        raise errors.pop()

    return fail
