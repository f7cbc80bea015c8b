"""What people and programs see of a rollout."""

import io
import json

import pytest
from rich.console import Console

from rollout.console import JsonView, PlainView, TerminalView, choose_view, fail, summary
from rollout.counters import Histogram, TrackCounters
from rollout.events import Kind, LookData, RolloutEvent
from rollout.judge import CheckResult, Judgement, Verdict

#: Text that would be markup, and characters of every kind.
HOSTILE = "[red]not markup[/red] [/] é 猫 C:\\x"


def look(
    seconds: float = 3.0, step: int = 1, verdict: Verdict = Verdict.INCONCLUSIVE, p95: float = 0.012
) -> RolloutEvent:
    tracks = (
        TrackCounters(90, 1, Histogram((0.01,), (80, 10))),
        TrackCounters(10, 2, Histogram((0.01,), (9, 1))),
    )
    checks = (
        CheckResult("latency", verdict, f"slower {HOSTILE}", p95, 0.01, 1.5, 300.0),
        CheckResult("health", Verdict.PASS, "the canary takes traffic"),
        CheckResult("error_rate", Verdict.FAIL, "worse", 0.2, 0.01, 1e260, 300.0),
    )
    judgement = Judgement(verdict, f"latency: {HOSTILE}", checks)
    data = LookData(step, 3, 10, seconds, *tracks, judgement)
    return RolloutEvent(Kind.LOOK, judgement.reason, {"rollout_id": "r1"}, data)


def events() -> list[RolloutEvent]:
    """One event of each kind."""
    others = [RolloutEvent(kind, f"{kind} {HOSTILE}", {"rollout_id": "r1", "weight": 5}) for kind in Kind]
    return [look() if event.kind is Kind.LOOK else event for event in others]


def test_json_lines_parse(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is one strict JSON object with kind, message and figures."""
    with JsonView() as view:
        for event in [*events(), look(p95=float("inf"))]:
            view.notify(event)
    lines = capsys.readouterr().out.splitlines()
    parsed = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [line["kind"] for line in parsed] == [*map(str, Kind), "look"]
    assert all(line["rollout_id"] == "r1" and HOSTILE in line["message"] for line in parsed)
    figures = parsed[-1]
    assert figures["canary"]["requests"] == 10
    assert figures["judgement"]["verdict"] == "inconclusive"
    assert figures["judgement"]["checks"][0]["canary"] is None


def test_plain_text_says_the_milestones() -> None:
    """Every milestone is one line with its own words, brackets and all."""
    console = Console(file=io.StringIO(), soft_wrap=True, highlight=False)
    with PlainView(console) as view:
        for event in events():
            view.notify(event)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == len(Kind)
    assert all(HOSTILE in line for line in lines)
    assert "step passed" in lines[list(Kind).index(Kind.STEP_PASSED)]
    assert "canary 10 calls (2 failed)" in lines[list(Kind).index(Kind.LOOK)]


def test_plain_text_shows_a_step_only_now_and_then() -> None:
    """A look every five seconds is shown, and the first of each step."""
    console = Console(file=io.StringIO(), soft_wrap=True, highlight=False)
    with PlainView(console) as view:
        for step in (1, 2):
            for seconds in range(12):
                view.notify(look(seconds, step))
    assert isinstance(console.file, io.StringIO)
    assert len(console.file.getvalue().splitlines()) == 6


def test_a_terminal_shows_every_kind_of_event() -> None:
    """Milestones scroll by; the figures of the running step are drawn; nothing is taken as markup."""
    console = Console(
        file=io.StringIO(), record=True, force_terminal=True, width=200, soft_wrap=False, highlight=False
    )
    with TerminalView(console) as view:
        for event in events():
            view.notify(event)
        for verdict in Verdict:
            view.notify(look(verdict=verdict))
            view._live.refresh()
    text = console.export_text()
    assert text.count("[red]not markup[/red]") >= len(Kind) - 1
    assert "10.0% observed" in text
    assert "1e+260 of 300" in text


def test_the_view_fits_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON when asked for, plain lines into a pipe."""
    assert isinstance(choose_view(as_json=True), JsonView)
    assert isinstance(choose_view(as_json=False), PlainView)


def test_a_failure_goes_to_standard_error_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence is not wrapped, and its brackets are not taken as markup."""
    sentence = f"{'long ' * 50}{HOSTILE}"
    fail(sentence)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {sentence}\n"


def test_a_summary_is_one_line() -> None:
    """Time, weight, calls and verdict of a look."""
    event = look()
    assert event.look is not None
    text = summary(event.look)
    assert "\n" not in text
    assert "weight 10 %" in text
    assert "inconclusive" in text
