"""Which calls have their messages asked for, and when; the laws of the window."""

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core import Admission
from inference.rpc import receiving
from inference.rpc.pool import WORK_THREADS, WorkPool
from inference.rpc.receiving import incoming_of
from inference.rpc.window import Window


class _Call:
    """A call whose message comes when the test says so."""

    def __init__(self) -> None:
        self.asked = self.cancelled = self.has_message = False
        self._then: Callable[[], object] = lambda: None

    def receive(self, then: Callable[[], object]) -> None:
        self.asked, self._then = True, then

    def arrive(self) -> None:
        self.has_message = True
        self._then()

    def cancel(self) -> None:
        self.cancelled = True


def test_the_installed_grpcio_lets_messages_be_received_early() -> None:
    """An upgrade of grpcio that takes the way away is noticed here, since nothing else fails then."""
    assert receiving._KNOWN


def test_what_is_no_call_of_grpcio_is_left_alone() -> None:
    """Any other function that somebody submits goes to a thread as it is."""
    assert incoming_of(()) is None
    assert incoming_of((print, 1, 2, 3, 4, 5, 6)) is None


@given(st.lists(st.integers(0, 2), max_size=80), st.integers(1, 4))
def test_no_more_messages_are_asked_for_than_there_is_room(steps: list[int], size: int) -> None:
    """Whatever the order of calls, messages and ends: `size` at most, first come first served, and nobody forgotten."""
    ready: list[int] = []
    window: Window[int] = Window(ready.append, size)
    calls: list[_Call] = []
    ended: set[int] = set()
    for step in steps:
        coming = [call for number, call in enumerate(calls) if call.asked and number not in ready]
        working = [number for number in ready if number not in ended]
        if step == 0:
            calls.append(_Call())
            window.enter(len(calls) - 1, calls[-1])
        elif step == 1 and coming:
            coming[0].arrive()
        elif step == 2 and working:
            window.leave(working[0])
            ended.add(working[0])
        asked = [call.asked for call in calls]
        assert asked == sorted(asked, reverse=True)
        assert sum(asked) == min(len(calls), size + len(ended))


def test_a_message_that_does_not_come_keeps_no_place() -> None:
    """Its place goes to another call once; when it comes after all, it is worked on as any other."""
    ready: list[int] = []
    window: Window[int] = Window(ready.append, 1)
    silent, second, third = calls = [_Call() for _ in range(3)]
    for number, call in enumerate(calls):
        window.enter(number, call)
    window.pass_over(0)
    assert (silent.cancelled, second.asked, third.asked) == (False, True, False)
    silent.arrive()
    assert ready == [0]
    window.leave(0)
    assert not third.asked
    second.arrive()
    window.leave(1)
    assert third.asked


def test_the_window_widens_only_while_nothing_comes() -> None:
    """300 silent calls are passed at a few looks; once a message comes, as few are asked for as ever."""
    ready: list[int] = []
    window: Window[int] = Window(ready.append, 4)
    calls = [_Call() for _ in range(301)]
    for number, call in enumerate(calls):
        window.enter(number, call)
    looks = 0
    while not calls[-1].asked:
        window.pass_over(0)
        looks += 1
    assert looks <= 5
    calls[-1].arrive()
    assert ready == [300]
    following = [_Call() for _ in range(10)]
    for number, call in enumerate(following, 1000):
        window.enter(number, call)
    assert sum(call.asked for call in following) <= 4
    window.leave(300)
    window.pass_over(0)
    assert sum(call.asked for call in following) <= 8


def test_a_message_that_never_comes_cancels_its_call() -> None:
    """Calls that wait for longer are cancelled, whether they have a place or not; others are left alone."""
    window: Window[int] = Window(lambda _: None, 1)
    silent, arrived = _Call(), _Call()
    window.enter(0, silent)
    window.pass_over(0)
    window.enter(1, arrived)
    arrived.arrive()
    window.cancel(60)
    assert not silent.cancelled
    window.cancel(0)
    assert (silent.cancelled, arrived.cancelled) == (True, False)


def _echo(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("told", "all"),))
    return message


def _with_code(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("nobody there")
    return message


def _with_head(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.send_initial_metadata((("early", "word"),))
    return message


def _uncompressed(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.disable_next_message_compression()
    return message


def _aborting(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, message.decode())


def _failing(message: bytes, _context: grpc.ServicerContext) -> bytes:
    raise ValueError(message)


_seen: list[weakref.ref[grpc.ServicerContext]] = []


def _noted(message: bytes, context: grpc.ServicerContext) -> bytes:
    _seen.append(weakref.ref(context))
    raise ValueError(message)


_BEHAVIOURS = (_noted, _echo, _with_code, _with_head, _uncompressed, _aborting, _failing)


class _Methods(grpc.GenericRpcHandler):
    """The behaviours above, by their names."""

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        behaviours = {f"/test/{behaviour.__name__}": behaviour for behaviour in _BEHAVIOURS}
        return grpc.unary_unary_rpc_method_handler(behaviours[details.method])


@pytest.fixture
def channels() -> Iterator[tuple[grpc.Channel, grpc.Channel]]:
    """Channels to a server on our pool, and to one on the pool that grpcio is made for."""
    ours, theirs = WorkPool(Admission(8)), ThreadPoolExecutor(4)
    servers = [grpc.server(pool, handlers=[_Methods()]) for pool in (ours, theirs)]
    ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
    for server in servers:
        server.start()
    first, second = (grpc.insecure_channel(f"127.0.0.1:{port}") for port in ports)
    with first, second:
        yield first, second
    for server in servers:
        server.stop(None).wait()
    ours.shutdown()
    theirs.shutdown()


def _heard(channel: grpc.Channel, method: str, message: bytes) -> tuple[object, ...]:
    """Return all that a caller gets to know."""
    try:
        response, call = channel.unary_unary(f"/test/{method}").with_call(message, timeout=10)
    except grpc.RpcError as error:
        response, call = None, error
    return response, call.code(), call.details(), call.initial_metadata(), call.trailing_metadata()


@pytest.mark.parametrize("behaviour", _BEHAVIOURS)
@pytest.mark.parametrize("message", [b"", b"hello"])
def test_a_caller_gets_what_grpcio_itself_would_answer(
    channels: tuple[grpc.Channel, grpc.Channel], behaviour: Callable[..., bytes], message: bytes
) -> None:
    """Sent at once or left to grpcio: response, status, details and metadata are those of its own pool."""
    ours, theirs = channels
    assert _heard(ours, behaviour.__name__, message) == _heard(theirs, behaviour.__name__, message)


def test_nothing_is_kept_of_a_call_that_failed(channels: tuple[grpc.Channel, grpc.Channel]) -> None:
    """Its request may be large: it goes with the call, and does not wait for the garbage collector."""
    _seen.clear()
    gc.disable()
    try:
        for _ in range(20):
            _heard(channels[0], "_noted", b"")
        alive = sum(context() is not None for context in _seen)
        assert alive <= WORK_THREADS  # the last ones may not have let go yet
    finally:
        gc.enable()
