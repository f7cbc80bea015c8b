"""Looking again at what the model URIs name."""

import queue
import statistics
import threading
import time

from structlog.testing import capture_logs

from inference.errors import RegistryUnavailableError
from inference.refresh import AutoRefresh


class _Reloads:
    """Counts, and raises what the test says."""

    def __init__(self, *errors: Exception) -> None:
        self.calls: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._errors = list(errors)

    def __call__(self) -> None:
        self.calls.put(time.monotonic())
        if self._errors:
            raise self._errors.pop(0)


def test_it_begins_with_a_pause_and_goes_on() -> None:
    """The first look comes about an interval after the start, and others follow."""
    reloads = _Reloads()
    started = time.monotonic()
    refresh = AutoRefresh(reloads, 0.1)
    refresh.start()
    try:
        first, second = reloads.calls.get(timeout=10), reloads.calls.get(timeout=10)
    finally:
        refresh.stop()
    assert first - started >= 0.08
    assert second - first >= 0.08


def test_pauses_differ_within_a_fifth() -> None:
    """Each pause is the interval give or take 20 %, so that a fleet spreads."""
    refresh = AutoRefresh(_Reloads(), 100)
    pauses = [refresh._pause_seconds() for _ in range(2000)]
    assert 80 <= min(pauses) < 85
    assert 115 < max(pauses) <= 120
    assert abs(statistics.mean(pauses) - 100) < 2


def test_it_survives_whatever_a_reload_raises() -> None:
    """A registry that is down and a defect are no reason to stop looking; only the defect is logged here."""
    reloads = _Reloads(RegistryUnavailableError("http://r", "down"), ZeroDivisionError("defect"))
    refresh = AutoRefresh(reloads, 0.01)
    with capture_logs() as lines:
        refresh.start()
        try:
            for _ in range(4):
                reloads.calls.get(timeout=10)
        finally:
            refresh.stop()
    assert [line["event"] for line in lines] == ["the automatic refresh failed"]


def test_a_stop_is_for_good_and_waits_for_nothing() -> None:
    """After a stop no reload begins, and a stop in the middle of a long pause ends the thread at once."""
    reloads = _Reloads()
    refresh = AutoRefresh(reloads, 3600)
    refresh.start()
    started = time.monotonic()
    refresh.stop()
    for thread in threading.enumerate():
        if thread.name == "refresh":
            thread.join(5)
            assert not thread.is_alive()
    assert time.monotonic() - started < 5
    assert reloads.calls.empty()


def test_a_stop_without_a_start_does_nothing() -> None:
    """A server that never refreshes stops all the same."""
    AutoRefresh(_Reloads(), 0).stop()
