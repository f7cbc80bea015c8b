"""The desk that has reports drawn: who begins, who joins, what is tried again, and how it ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from drift.errors import ReportError, ShuttingDownError
from drift.report import ReportResult
from drift.report.desk import ReportDesk, Subject
from drift.report.handover import CrossCheck
from drift.rows import Reference, Rows
from drift.statistics import Methods

IrisRows = Callable[..., Rows]


class Drawer:
    """In place of `Reporter`, whose child takes seconds: draws the number of its call, or fails, at an open gate."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.rows: list[Rows] = []
        self.failures: list[Exception] = []
        self._stopping = False

    def draw(self, reference: Reference, current: Rows, methods: Methods | None = None) -> ReportResult:  # noqa: ARG002
        """Give the next page."""
        self.rows.append(current)
        number = len(self.rows)
        self.begun.release()
        assert self.gate.wait(20)
        if self._stopping:
            raise ShuttingDownError
        if self.failures:
            raise self.failures.pop()
        return ReportResult(f"page {number}".encode(), CrossCheck(number / 1000, None, 1), 0)

    def stop(self) -> None:
        """End what is being drawn."""
        self._stopping = True
        self.gate.set()


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
def differences() -> list[float]:
    """What the desk told of each page."""
    return []


@pytest.fixture
def desk(drawer: Drawer, differences: list[float]) -> Iterator[ReportDesk]:
    """A desk with a thread of its own, which is ended in the end."""

    def drawn(result: ReportResult) -> None:
        differences.append(result.cross_check.largest_difference)

    made = ReportDesk(drawer, Methods(), drawn)  # type: ignore[arg-type]
    yield made
    assert made.stop(20)


@pytest.fixture
def subjects(reference: Reference, iris_rows: IrisRows) -> list[Subject]:
    """Three verdicts."""
    return [Subject(reference, iris_rows(60, seed=seed)) for seed in range(3)]


def asked(desk: ReportDesk) -> Future[bytes]:
    """Ask for the page of the last verdict."""
    future = desk.report()
    assert future is not None
    return future


def test_before_the_first_verdict_there_is_nothing_to_draw(desk: ReportDesk) -> None:
    """None, which the route answers with 404."""
    assert desk.report() is None


def test_who_asks_during_a_drawing_joins_it(
    desk: ReportDesk, drawer: Drawer, subjects: list[Subject], differences: list[float]
) -> None:
    """One page for all who ask, kept for those who ask later, and told once."""
    drawer.gate.clear()
    desk.take(subjects[0], alarm=False)
    first, second = asked(desk), asked(desk)
    assert first is second
    drawer.gate.set()
    assert first.result(20) == b"page 1"
    assert asked(desk).result(20) == b"page 1"
    assert differences == [0.001]


def test_a_verdict_is_drawn_by_itself_when_the_alarm_changes(
    desk: ReportDesk, drawer: Drawer, subjects: list[Subject]
) -> None:
    """At its begin and its end; a verdict that changes nothing is drawn when somebody asks."""
    for subject, alarm in zip(subjects, (True, True, False), strict=True):
        desk.take(subject, alarm=alarm)
    assert asked(desk).result(20) == b"page 2"
    assert [id(rows) for rows in drawer.rows] == [id(subjects[place].current) for place in (0, 2)]


def test_a_newer_verdict_supersedes_the_page(
    desk: ReportDesk, drawer: Drawer, subjects: list[Subject]
) -> None:
    """Who asked before gets the page of that time, who asks now waits for the new one."""
    drawer.gate.clear()
    desk.take(subjects[0], alarm=False)
    before = asked(desk)
    assert drawer.begun.acquire(timeout=20)
    desk.take(subjects[1], alarm=False)
    after = asked(desk)
    assert after is not before
    drawer.gate.set()
    assert (before.result(20), after.result(20)) == (b"page 1", b"page 2")
    assert drawer.rows[1] is subjects[1].current


@pytest.mark.parametrize("failure", [ReportError("it is too large"), RuntimeError("a defect")])
def test_what_failed_is_tried_again(
    desk: ReportDesk, drawer: Drawer, subjects: list[Subject], failure: Exception
) -> None:
    """Who waited learns why, the metrics learn nothing, and the next one who asks begins anew."""
    drawer.failures = [failure]
    desk.take(subjects[0], alarm=False)
    with pytest.raises(type(failure), match=str(failure).split(";")[0]):
        asked(desk).result(20)
    assert asked(desk).result(20) == b"page 2"


def test_an_evaluation_never_waits_for_a_page(
    desk: ReportDesk, drawer: Drawer, subjects: list[Subject]
) -> None:
    """A verdict is handed over while an older one is being drawn."""
    drawer.gate.clear()
    for subject, alarm in zip(subjects, (True, False, True), strict=True):
        desk.take(subject, alarm=alarm)  # would hang here
    drawer.gate.set()
    assert asked(desk).result(20) == b"page 3"


def test_a_stop_ends_what_is_drawn_and_what_waits(
    drawer: Drawer, desk: ReportDesk, subjects: list[Subject]
) -> None:
    """Both end at once; afterwards nothing is drawn, and a verdict that still comes is let be."""
    drawer.gate.clear()
    desk.take(subjects[0], alarm=True)
    drawing = asked(desk)
    assert drawer.begun.acquire(timeout=20)
    desk.take(subjects[1], alarm=False)
    waiting = asked(desk)
    assert desk.stop(20)
    with pytest.raises(ShuttingDownError):
        drawing.result(20)
    assert waiting.cancelled()
    desk.take(subjects[2], alarm=True)
    with pytest.raises(ShuttingDownError):
        desk.report()
    assert len(drawer.rows) == 1


def test_a_stop_does_not_wait_longer_than_it_may(
    drawer: Drawer, desk: ReportDesk, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that something is left when the drawing does not end."""
    drawer.gate.clear()
    monkeypatch.setattr(drawer, "stop", lambda: None)
    desk.take(subjects[0], alarm=True)
    assert drawer.begun.acquire(timeout=20)
    assert not desk.stop(0.01)
    drawer.gate.set()
