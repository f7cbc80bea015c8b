"""Loki as a source: everything once, however it comes, and honest about what is missing."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from drift.current.event_filter import EventFilter, SkipReason
from drift.current.intake import Intake
from drift.current.loki.access import Access
from drift.current.loki.client import LokiClient
from drift.current.loki.loki_log import LokiLog
from drift.current.loki.retry import Patience
from drift.errors import LokiError
from drift.rows import Reference
from tests.drift.current.loki_stand_in import Answer, LokiStandIn

QUERY: Final = '{app="ml-inference"} |= "prediction"'
QUICK: Final = Patience(attempts=2, first_seconds=0.001)
HOUR: Final = 3600.0
#: A whole hour, so that minutes are easy to see.
NOW: Final = 1_790_002_800.0
NS: Final = 10**9

MakeLog = Callable[..., LokiLog]
Push = Callable[..., None]


@pytest.fixture
def make_log(loki: LokiStandIn, reference: Reference) -> Iterator[MakeLog]:
    """A function that makes a source on the stand-in. Lines settle at once, unless told otherwise."""
    clients = list[LokiClient]()

    def make(
        query: str = QUERY,
        *,
        max_rows: int = 10_000,
        settle_seconds: float = 0.0,
        range_seconds: float = HOUR,
    ) -> LokiLog:
        clients.append(LokiClient(Access(loki.url), patience=QUICK))
        intake = Intake(reference.schema, EventFilter(), range_seconds=range_seconds, max_rows=max_rows)
        return LokiLog(clients[-1], query, intake, range_seconds=range_seconds, settle_seconds=settle_seconds)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def push(loki: LokiStandIn, event_line: Callable[..., bytes]) -> Push:
    """A function that logs events `seconds` after NOW, all of one nanosecond."""

    def push_some(seconds: float, count: int = 1, **fields: object) -> None:
        written = datetime.fromtimestamp(NOW + seconds, UTC).isoformat()
        lines = [event_line(timestamp=written, **fields).decode().rstrip() for _ in range(count)]
        loki.store.push((int((NOW + seconds) * NS), line) for line in lines)

    return push_some


def rows(log: LokiLog, seconds: float = 0.0) -> int:
    """Read as of `seconds` after NOW; return the rows of the window."""
    found = log.read(NOW + seconds)
    return 0 if found is None else len(found)


def test_only_what_came_since_is_read(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """The first read takes the window, the next ones what came since: the cursor moves with the time."""
    push(-HOUR - 5)
    for minute in range(50):
        push(-60 * minute - 5)
    log = make_log()
    assert rows(log) == 50
    push(100)
    loki.requests.clear()
    assert rows(log, 110) == 51
    first = loki.asked("lines")[0]
    assert NOW - 125 <= int(first["start"]) / NS <= NOW
    assert log.rows_missing == 0
    assert not log.take_skipped()


def test_late_lines_are_read_in_passing(make_log: MakeLog, push: Push) -> None:
    """A line that comes a minute and a half after its time is read once, by the overlap."""
    push(-10)
    log = make_log()
    assert rows(log) == 1
    push(-90)
    assert rows(log, 10) == 2
    assert rows(log, 20) == 2
    assert not log.take_skipped()


def test_lines_later_than_the_overlap_are_found_by_the_counts(make_log: MakeLog, push: Push) -> None:
    """A collector that was down for half an hour delivers: its minutes lack lines, and are read anew."""
    push(-1800, 3)
    log = make_log()
    assert rows(log) == 3
    push(-1790, 5)
    push(-900, 2)
    assert rows(log, 60) == 10
    assert log.rows_missing == 0
    assert not log.take_skipped()


def test_lines_of_a_clock_that_is_ahead_are_read_and_leave(make_log: MakeLog, push: Push) -> None:
    """An event from five minutes in the future counts as of now, once, and leaves with the others."""
    push(300)
    log = make_log()
    assert [rows(log), rows(log, 60), rows(log, 400)] == [1, 1, 1]
    assert rows(log, HOUR + 100) == 0


def test_lokis_clock_counts_where_ours_is_wrong(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """Ours is two hours behind: the window is that of Loki's clock, and the log says so once."""
    loki.clock_ahead_seconds = NOW - time.time()  # Loki lives at NOW
    push(-60)
    push(-HOUR - 60)
    log = make_log()
    with capture_logs() as logged:
        found = log.read(time.time())
        log.read(time.time())
    assert found is not None
    assert len(found) == 1
    assert [line["event"] for line in logged] == ["our clock differs from Loki's, whose time counts"]


def test_a_failed_read_keeps_what_it_has_and_goes_on(
    loki: LokiStandIn, make_log: MakeLog, push: Push
) -> None:
    """Loki dies in the middle of the pages: the pages before count, the next read goes on behind them."""
    loki.max_entries = 10
    for second in range(100):
        push(-2000 + 10 * second)
    log = make_log()
    loki.answers_left = 5
    with pytest.raises(LokiError, match="cannot answer now"):
        log.read(NOW)
    loki.answers_left = None
    loki.requests.clear()
    assert rows(log) == 100
    assert int(loki.asked("lines")[0]["start"]) > (NOW - 2200) * NS
    assert log.rows_missing == 0
    assert not log.take_skipped()


def test_the_whole_window_is_read_anew_after_a_long_failure(
    loki: LokiStandIn, make_log: MakeLog, push: Push
) -> None:
    """Loki away for two hours: then the window is read, and not what is older."""
    push(-10)
    log = make_log()
    assert rows(log) == 1
    loki.instead = [Answer(503)] * 2
    with pytest.raises(LokiError):
        log.read(NOW + 300)
    push(HOUR - 10)
    push(2 * HOUR - 10, 4)
    assert rows(log, 2 * HOUR) == 4
    assert log.rows_missing == 0


def test_what_loki_counts_and_does_not_give_is_told(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """Counts above the lines are told as rows missing; the minutes are read anew once, not for ever."""
    for minute in range(5):
        push(-60 * minute - 30)
    loki.count_lie = 2
    log = make_log(range_seconds=900.0)
    assert rows(log) == 5
    assert log.rows_missing is not None
    told = log.rows_missing
    assert told >= 2 * 5
    rows(log)  # no more than ten minutes are read anew at once
    loki.requests.clear()
    assert rows(log) == 5
    assert len(loki.asked("lines")) == 1
    assert log.rows_missing == told
    loki.count_lie = 0
    assert rows(log) == 5
    assert log.rows_missing == 0


def test_counts_that_cannot_be_had_are_no_failure(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """The lines count all the same; how many are missing is then not known."""
    push(-100)
    log = make_log()
    loki.refuses_counts = True
    with capture_logs() as logged:
        assert rows(log) == 1
    assert log.rows_missing is None
    assert "does not count" in logged[-1]["event"]


def test_lines_that_are_not_settled_are_not_missing(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """What Loki counts of the last half minute may not be there to read yet."""
    push(-200)
    log = make_log(settle_seconds=70)
    rows(log)
    last = int(loki.asked("counts")[-1]["end"]) / NS
    assert last <= NOW - 70


def test_an_event_counts_once_though_logged_twice(make_log: MakeLog, push: Push) -> None:
    """Two collectors deliver one event at two moments: the second is a duplicate."""
    push(-20, event_id="twice")
    push(-19, event_id="twice")
    log = make_log()
    assert rows(log) == 1
    assert log.take_skipped() == Counter({SkipReason.DUPLICATE: 1})


def test_parts_of_lines_are_joined_over_reads(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """The frame of containerd, a line in two entries, between them a read and lines of another container."""
    push(-30, 2)
    whole, other = [one.line for one in loki.store.lines]
    loki.store.lines.clear()
    frame = "2026-11-23T08:00:00.123456789Z stdout"
    pods = [{"app": "ml-inference", "pod": name} for name in "ab"]
    query = '{app="ml-inference"}'
    log = make_log(query)
    loki.store.push([(int(NOW * NS) - 20, f"{frame} P {whole[:200]}")], pods[0])
    assert rows(log) == 0
    loki.store.push([(int(NOW * NS) - 15, f"{frame} F {other}")], pods[1])
    loki.store.push([(int(NOW * NS) - 10, f"{frame} F {whole[200:]}")], pods[0])
    assert rows(log, 1) == 2
    assert not log.take_skipped()


def test_the_window_is_a_sample_of_bounded_size(make_log: MakeLog, push: Push) -> None:
    """Beyond `max_rows` the window has exactly so many rows."""
    push(-100, 300)
    assert rows(make_log(max_rows=50)) == 50


def test_lines_that_are_no_json_are_logged_once_a_read(
    loki: LokiStandIn, make_log: MakeLog, push: Push
) -> None:
    """A traceback in the stream is counted by line, and one of the lines is shown, over however many pages."""
    loki.max_entries = 10
    loki.store.push(
        (int((NOW - 50) * NS) + number, f"Traceback of a prediction {number}") for number in range(40)
    )
    push(-10)
    log = make_log()
    with capture_logs() as logged:
        assert rows(log) == 1
    [told] = [line for line in logged if line["event"] == "Skipping non-JSON log line"]
    assert (told["lines"], told["origin"]) == (40, "Loki")
    assert log.take_skipped() == Counter({SkipReason.NOT_JSON: 40})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0, 0, 1, 5]), st.integers(1, 12)), max_size=8
    ),
    page=st.integers(2, 12),
    failing=st.sets(st.integers(0, 8), max_size=3),
)
def test_however_events_come_each_counts_once(
    events: list[tuple[int, int, int]],
    page: int,
    failing: set[int],
    loki: LokiStandIn,
    make_log: MakeLog,
    push: Push,
) -> None:
    """Bursts, minutes late, in small pages, with reads that fail in between: in the end all are there, none twice.

    Time goes by minutes; an event is of one minute and comes some minutes later.
    """
    loki.store.lines.clear()
    loki.max_entries = page
    log = make_log(range_seconds=1800.0)
    for minute in range(10):
        for moment, delay, count in events:
            if moment + delay == minute:
                push(60 * moment + 7, count)
        loki.answers_left = 3 if minute in failing else None
        try:
            rows(log, 60 * minute + 59)
        except LokiError:
            assert minute in failing
    loki.answers_left = None
    assert rows(log, 60 * 10 + 59) == sum(count for _, _, count in events)
    assert log.rows_missing == 0
    assert not log.take_skipped()


def test_what_is_read_again_is_told_once(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """A minute is read anew for the lines that it lacked; those skipped in it before are not counted again."""
    push(-1800, shadow=True)
    push(-1799, 2)
    log = make_log()
    assert rows(log) == 2
    assert log.take_skipped() == Counter({SkipReason.SHADOW: 1})
    push(-1798)
    assert rows(log, 60) == 3
    assert not log.take_skipped()


def test_one_wrong_time_of_a_server_does_not_move_the_window(
    loki: LokiStandIn, make_log: MakeLog, push: Push
) -> None:
    """One header Date a day ahead is asked about, and not believed."""
    loki.clock_ahead_seconds = NOW - time.time()
    push(-60)
    log = make_log()
    assert _rows_now(log) == 1
    loki.dates_wrong, loki.wrong_by_seconds = 1, 86_400.0
    assert _rows_now(log) == 1
    push(-30)
    assert _rows_now(log) == 2


def test_a_clock_that_goes_back_loses_no_line(loki: LokiStandIn, make_log: MakeLog, push: Push) -> None:
    """A server that was a day ahead for some reads, and is right again: the window is read anew, all of it."""
    loki.clock_ahead_seconds = NOW - time.time()
    push(-1800, 3)
    log = make_log(settle_seconds=30.0)
    assert _rows_now(log) == 3
    loki.clock_ahead_seconds += 86_400
    for _ in range(2):
        _rows_now(log)
    push(-1000, 2)
    loki.clock_ahead_seconds -= 86_400
    assert _rows_now(log) == 5
    assert log.rows_missing == 0


def test_a_first_answer_that_is_too_large_is_no_defect(
    loki: LokiStandIn, make_log: MakeLog, push: Push
) -> None:
    """The question for the time needs the head of an answer alone."""
    push(-60)
    loki.oversized = 1
    assert rows(make_log()) == 1


def _rows_now(log: LokiLog) -> int:
    found = log.read(time.time())
    return 0 if found is None else len(found)
