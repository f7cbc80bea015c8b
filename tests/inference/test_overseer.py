"""What ends calls that take too long."""

import threading

from inference.rpc.overseer import Overseer


def test_what_takes_too_long_is_cancelled() -> None:
    """A task that was begun and not ended is cancelled; one that ended in time is not, also later."""
    overseer = Overseer(0.05)
    late, soon = threading.Event(), threading.Event()
    overseer.begin("late", late.set)
    overseer.begin("soon", soon.set)
    overseer.end("soon")
    assert late.wait(10)
    late.clear()
    assert late.wait(10), "it is asked again until it ends"
    overseer.end("late")
    overseer.end("late")
    assert not soon.is_set()


def test_no_thread_is_left_when_nothing_is_under_way() -> None:
    """The timer ends with the last task, and comes back with the next."""
    overseer = Overseer(0.01)
    for _ in range(3):
        cancelled = threading.Event()
        before = threading.active_count()
        overseer.begin("task", cancelled.set)
        assert cancelled.wait(10)
        overseer.end("task")
        ended = threading.Event()
        for _ in range(1000):
            if threading.active_count() <= before:
                break
            ended.wait(0.01)
        assert threading.active_count() <= before
