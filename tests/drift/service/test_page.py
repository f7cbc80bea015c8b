"""What the page says, before a browser shows it."""

import re
from dataclasses import replace

import pytest

from drift.evaluation import Evaluation, Outcome
from drift.service.history import History
from drift.service.page import PAGE_POLICY, content_of, render
from drift.service.page.content import Content
from drift.statistics.column import NO_DATA, ColumnDrift
from tests.drift.service.evaluations import BEGIN, LEVELS, health_of, verdict, without_verdict


def content(*evaluations: Evaluation, now: float = BEGIN + 600) -> Content:
    """The page after the evaluations, with a history that has them."""
    history = History(None)
    for one in evaluations:
        history.add(one)
    reached = next((one for one in reversed(evaluations) if one.outcome is Outcome.OK), None)
    return content_of(health_of(evaluations[-1], reached), reached, history, now=now, span="day")


def test_a_quiet_window_is_said_to_be_quiet() -> None:
    """The word of the title, and no scope that changed."""
    page = content(verdict())
    assert (page.headline.tone, page.headline.word) == ("good", "No drift found")
    assert [scope.answer for scope in page.scopes] == ["no change found"] * 3
    assert "10 minutes ago" in page.headline.verdict


def test_an_alarm_names_what_changed_and_since_when() -> None:
    """The headline has the features that spoke, and the time of the first evaluation that raised it."""
    page = content(*(verdict(BEGIN + 60 * place, raised=place > 3, severity=4.0) for place in range(10)))
    assert page.headline.tone == "alarm"
    assert page.headline.reason == "What changed: the features (feature_0)."
    assert page.headline.since.endswith("(6 minutes).")
    assert (page.columns[1].name, page.columns[1].verdict) == ("feature_0", "changed")


def test_an_exceeded_level_that_does_not_last_is_watched() -> None:
    """It is no alarm, and the page says how many evaluations in a row it takes."""
    page = content(verdict(runs=1))
    assert (page.headline.tone, page.scopes[0].answer) == ("watching", "likely changed")
    assert "in 1 of 3 evaluations" in page.headline.reason
    assert page.columns[1].verdict == "likely changed"


def test_a_failure_leaves_the_last_verdict_on_the_page() -> None:
    """Status and reason are of now, the numbers of the last verdict, and its age is said."""
    page = content(verdict(), without_verdict(BEGIN + 300, reason="the log is gone; mend it"))
    assert (page.headline.word, page.headline.reason) == ("Failing", "The log is gone; mend it.")
    assert "10 minutes ago" in page.headline.verdict
    assert page.columns
    assert [error.reason for error in page.errors] == ["the log is gone; mend it"]


def test_before_the_first_verdict_there_are_no_numbers() -> None:
    """Waiting is no failure, and has its reason."""
    page = content(without_verdict(BEGIN, Outcome.INSUFFICIENT_DATA, "12 rows, 50 needed"))
    assert (page.headline.word, page.headline.reason) == ("Waiting for data", "12 rows, 50 needed.")
    assert page.headline.verdict == "No verdict yet."
    assert (page.tiles, page.scopes, page.columns) == ((), (), ())


def test_after_a_restart_the_page_shows_the_verdict_of_before() -> None:
    """The history has it, with its distributions, until there is a new one."""
    history = History(None)
    history.add(verdict())
    waiting = without_verdict(BEGIN + 60, Outcome.INSUFFICIENT_DATA, "the first evaluation has not finished")
    page = content_of(health_of(waiting, None), None, history, now=BEGIN + 120, span="day")
    assert page.headline.word == "Waiting for data"
    assert page.columns[0].bins


def test_a_history_that_cannot_be_read_is_a_sentence_on_the_page(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The verdict of now is shown all the same."""
    file = tmp_path_factory.mktemp("place") / "file"
    file.write_text("")
    reached = verdict()
    page = content_of(health_of(reached, reached), reached, History(file / "below"), now=BEGIN, span="day")
    assert "cannot be used" in page.history_error
    assert page.columns
    assert "cannot be used" in render(page, refreshing=True)


def test_the_worst_twelve_features_stand_open() -> None:
    """Those that the alarm names first, then those without data, then by severity; all others are folded."""
    names = [f"feature_{number}" for number in range(100)]
    made = verdict(names=names)
    features = [replace(column, severity=number / 100) for number, column in enumerate(made.features)]
    features[7] = ColumnDrift("feature_7", NO_DATA, None, None, False, None)
    assert made.alarm is not None
    alarm = replace(made.alarm, feature_p_values={**made.alarm.feature_p_values, "feature_3": 0.001})
    page = content(replace(made, features=tuple(features), alarm=alarm))
    shown = [column.name for column in page.columns]
    assert shown[:5] == ["prediction", "feature_3", "feature_7", "feature_99", "feature_98"]
    assert (len(shown), len(page.folded)) == (13, 88)
    html = render(page, refreshing=True)
    assert html.count("<article") == 3 + 101
    assert len(html) < 1_000_000


def test_a_thousand_features_are_all_in_the_table() -> None:
    """What is drawn is bounded, what is written is complete."""
    names = [f"feature_{number}" for number in range(1000)]
    html = render(content(verdict(names=names)), refreshing=True)
    assert all(f"<bdi>{name}</bdi></th>" in html for name in names)
    assert html.count("<article") == 3 + 101


def test_texts_are_texts_and_never_markup() -> None:
    """Names, bins, methods and reasons may be anything; the page has no script and no handler."""
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{7*7}}'
    made = verdict(names=(evil, "feature_1"), bins=(evil, ""), runs=1)
    html = render(content(made, without_verdict(BEGIN + 1, reason=evil)), refreshing=True)
    assert "<script" not in html
    assert "<img" not in html
    assert "{{7*7}}" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "(empty)" in html


def test_the_page_is_complete_in_itself() -> None:
    """The policy forbids to run and to load anything, and nothing in the page would want to."""
    html = render(content(verdict()), refreshing=False)
    assert "default-src 'none'" in PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert " style=" not in html
    assert not re.search(
        r"(src|href|url)[=(]\s*[\"']?(https?:)?//", html.replace("http://www.w3.org/2000/svg", "")
    )
    assert 'http-equiv="refresh"' not in html


@pytest.mark.parametrize("count", [0, 1])
def test_a_first_or_no_run_can_be_drawn(count: int) -> None:
    """One point is a dot, none is an empty figure: neither divides by nothing."""
    history = History(None)
    for _ in range(count):
        history.add(verdict())
    made = verdict()
    page = content_of(health_of(made, made), made, history, now=BEGIN, span="day")
    assert "<h1>No drift found</h1>" in render(page, refreshing=True)


def test_what_went_wrong_beside_a_verdict_is_said() -> None:
    """A note does not change the verdict, and stands below the headline."""
    made = replace(verdict(), notes=("labels cannot be read: no such file",))
    page = content(made)
    assert page.headline.word == "No drift found"
    assert page.headline.notes == ("Labels cannot be read: no such file.",)
    assert "Labels cannot be read" in render(page, refreshing=True)


def test_all_columns_have_one_stability_index() -> None:
    """Features, predictions and targets alike: the comparison's, beside Evidently's threshold."""
    target = ColumnDrift("target", "chi-square p_value", 0.01, 0.05, True, 5.0, 0.25)
    page = content(replace(verdict(), target=target))
    assert [(column.name, column.psi, column.psi_over) for column in page.columns] == [
        ("prediction", "0.012", False),
        ("target", "0.25", True),
        ("feature_0", "0.004", False),
        ("feature_1", "0.004", False),
    ]
    drawn = [figure for column in page.columns for figure in column.figures if figure.title == "PSI"]
    assert [figure.limit_text for figure in drawn] == ["Evidently's threshold 0.1"] * 4


def test_the_level_is_where_the_alarm_says() -> None:
    """The page invents no level."""
    page = content(verdict())
    assert {scope.level for scope in page.scopes} == {f"{level:.2g}" for level in LEVELS.values()}
