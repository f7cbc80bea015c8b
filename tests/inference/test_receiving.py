"""Which calls have their messages asked for, and when; the laws of the window."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from inference.rpc import receiving
from inference.rpc.receiving import Window, incoming_of


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
