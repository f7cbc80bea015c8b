"""The history: what is kept, in which order, within which bounds."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.evaluation import Evaluation, Outcome
from drift.service.history import History
from drift.service.run import run_of
from drift.service.run_record import columns_record, run_from, run_record
from drift.statistics.column import ColumnDrift
from drift.statistics.method import METHODS, SMALLEST_P_VALUE
from tests.drift.service.evaluations import BEGIN, verdict, without_verdict


@pytest.fixture(params=["in memory", "in a file"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """A history that keeps ten runs of a day."""
    path = None if request.param == "in memory" else tmp_path / "below" / "history.sqlite"
    made = History(path, max_runs=10, max_age_days=1)
    yield made
    made.close()


def add(history: History, *evaluations: Evaluation) -> None:
    for evaluation in evaluations:
        history.add(evaluation)


def moments(history: History, limit: int = 100, before: int | None = None) -> list[str]:
    return [run.evaluated_at for run in history.runs(limit, before)]


def test_runs_come_newest_first_and_page_by_page(history: History) -> None:
    """Pages joined are the whole, without a gap and without a run twice."""
    made = [verdict(BEGIN + place) for place in range(7)]
    add(history, *made)
    whole = history.runs(100)
    assert [run.evaluated_at for run in whole] == [one.evaluated_at for one in reversed(made)]
    pages = [history.runs(3), history.runs(3, whole[2].id), history.runs(3, whole[5].id)]
    assert [run for page in pages for run in page] == whole


def test_the_oldest_runs_beyond_the_count_are_forgotten(history: History) -> None:
    """Whatever comes in, there are never more than ten."""
    add(history, *(verdict(BEGIN + place) for place in range(25)))
    assert moments(history) == [verdict(BEGIN + place).evaluated_at for place in range(24, 14, -1)]


def test_runs_older_than_the_age_are_forgotten(history: History) -> None:
    """The age counts back from the newest run."""
    add(history, verdict(BEGIN), verdict(BEGIN + 3600), verdict(BEGIN + 86_400 + 1800))
    assert len(history.runs(100)) == 2


def test_what_only_the_page_needs_is_kept_of_the_last_verdict_alone(history: History) -> None:
    """Distributions are large; a failure after the verdict does not take them away."""
    first, last = verdict(BEGIN, bins=("a", "b")), verdict(BEGIN + 1, bins=("x", "y", "z"))
    add(history, first, last, without_verdict(BEGIN + 2))
    found = history.last_verdict()
    assert found is not None
    assert found.run.evaluated_at == last.evaluated_at
    assert found.distributions == last.distributions


def test_before_the_first_verdict_there_is_none(history: History) -> None:
    """Failures alone are a history too."""
    add(history, without_verdict(BEGIN))
    assert history.last_verdict() is None
    assert history.alarm_since() is None
    assert [run.outcome for run in history.runs(5)] == ["error"]


def test_errors_are_counted_by_their_reason(history: History) -> None:
    """The newest reason first, with how often it came and when."""
    gone, slow = (without_verdict(BEGIN, reason=reason).reason for reason in ("gone", "slow"))
    add(
        history,
        without_verdict(BEGIN, reason=gone),
        without_verdict(BEGIN + 1, reason=slow),
        without_verdict(BEGIN + 2, reason=gone),
        without_verdict(BEGIN + 3, Outcome.INSUFFICIENT_DATA, "too few"),
    )
    assert [(one.reason, one.count, one.first, one.last) for one in history.errors(5)] == [
        ("gone", 2, BEGIN, BEGIN + 2),
        ("slow", 1, BEGIN + 1, BEGIN + 1),
    ]


def test_an_alarm_lasts_from_the_run_that_raised_it(history: History) -> None:
    """Failures in between do not end it, a verdict without an alarm does."""
    raised = [verdict(BEGIN + place, raised=True) for place in (10, 30)]
    add(history, verdict(BEGIN), raised[0], without_verdict(BEGIN + 20), raised[1])
    assert history.alarm_since() == BEGIN + 10
    add(history, verdict(BEGIN + 40))
    assert history.alarm_since() is None


def test_a_thinned_series_keeps_the_alarm() -> None:
    """A point stands for many runs and shows the worst: one small alarm among runs of the largest severity is seen."""
    largest = METHODS["ks"].threshold / SMALLEST_P_VALUE
    history = History(None)
    for place in range(1000):
        raised = place == 617
        history.add(verdict(BEGIN + place, raised=raised, severity=0.0 if raised else largest))
    series = history.series(BEGIN, 20)
    assert len(series) <= 21
    assert sum(run.alarm is not None and run.alarm.any for run in series) == 1
    assert [run.evaluated_at for run in series] == sorted(run.evaluated_at for run in series)


def test_a_thinned_series_keeps_the_largest_severity() -> None:
    """Where there was no alarm, the worst run stands for its neighbours."""
    history = History(None)
    for place in range(200):
        history.add(verdict(BEGIN + place, severity=7.0 if place == 90 else 0.5))
    assert [run.worst_severity for run in history.series(BEGIN, 10)].count(7.0) == 1


def test_a_series_begins_where_it_is_asked_to(history: History) -> None:
    """Few runs are all shown, the oldest first."""
    add(history, *(verdict(BEGIN + place) for place in range(6)))
    assert [run.evaluated_at for run in history.series(BEGIN + 2, 100)] == [
        verdict(BEGIN + place).evaluated_at for place in range(2, 6)
    ]


def test_threads_share_a_history(history: History) -> None:
    """Who reads while others write sees whole runs, and no run is lost within the bounds."""

    def work(first: int) -> None:
        for place in range(first, first + 25):
            history.add(verdict(BEGIN + place))
            assert len(history.runs(100)) <= 10

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, 100 * number) for number in range(4)]:
            done.result(60)
    assert len(history.runs(100)) == 10


def test_columns_may_change_between_runs(history: History) -> None:
    """A new reference brings other features; the runs of the old one keep theirs."""
    add(history, verdict(BEGIN), verdict(BEGIN + 1, names=("feature_0", "feature_1", "feature_2")))
    assert [len(run.features) for run in history.runs(5)] == [3, 2]


def test_a_file_is_still_there_after_a_restart(tmp_path: Path) -> None:
    """Ids go on growing, so that a page asked for before the restart continues after it."""
    path = tmp_path / "history.sqlite"
    first = History(path)
    first.add(verdict(BEGIN))
    first.close()
    second = History(path)
    second.add(verdict(BEGIN + 1))
    newer, older = second.runs(5)
    second.close()
    assert newer.id > older.id
    assert older.evaluated_at == verdict(BEGIN).evaluated_at


numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(
    name=st.text(max_size=20),
    statistic=numbers,
    severity=numbers,
    drifted=st.booleans(),
    raised=st.booleans(),
)
def test_a_run_is_read_as_it_was_written(
    name: str, statistic: float | None, severity: float | None, drifted: bool, raised: bool
) -> None:
    """Whatever the names and numbers: five digits are kept, and what is no number is none."""
    column = ColumnDrift(name.encode("utf-8", "replace").decode(), "ks", statistic, 0.1, drifted, severity)
    evaluation = replace(verdict(raised=raised), features=(column,), target=column)
    run = run_of(evaluation)
    assert run_from(0, columns_record(run), run_record(run)) == run
