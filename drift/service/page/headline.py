"""The head of the page: what is the case, since when and why, and the numbers that people ask for first."""

from dataclasses import dataclass
from typing import Final

from drift.accuracy.accuracy import Accuracy
from drift.monitor import Health, Status
from drift.service.page import wording
from drift.service.run import Run

__all__ = ["Headline", "Tile", "headline_of", "tiles_of"]

#: What each scope is called in a sentence.
SCOPE_WORDS: Final = {
    "features": "the features",
    "prediction": "the predictions",
    "joint": "how the features go together",
}
#: A headline has room for so many names.
FEATURES_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Headline:
    """What is the case. `tone` is good, watching, alarm, waiting or failing; `word` stands in the title.

    `notes` are sentences about what went wrong without preventing a verdict.
    """

    tone: str
    word: str
    reason: str
    since: str
    verdict: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One number with its name, and what stands below it."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


def headline_of(health: Health, run: Run | None, alarm_since: float | None, now: float) -> Headline:
    """Return the headline for the service's health and the last verdict."""
    verdict = "No verdict yet." if run is None else f"Last verdict {_ago(run, now)}."
    began = wording.seconds_of(health.since)
    if health.status is Status.FAILING:
        tone, word, reason = "failing", "Failing", _sentence(health.reason)
    elif health.status is Status.WAITING_FOR_DATA:
        tone, word, reason = "waiting", "Waiting for data", _sentence(health.reason)
    elif run is None or run.alarm is None:
        tone, word, reason = "good", "No drift found", ""
    else:
        tone, word, reason = _verdict(run)
        began = alarm_since if tone == "alarm" and alarm_since is not None else began
    since = f"Since {wording.clock(began)} ({wording.age(now - began)})."
    notes = tuple(_sentence(note) for note in health.notes)
    return Headline(tone, word, reason, since, verdict, notes)


def tiles_of(run: Run, health: Health) -> tuple[Tile, ...]:
    """Return the numbers below the headline."""
    drifted = sum(column.drifted for column in run.features)
    dataset = "the dataset drifted" if run.dataset_drift else "the dataset did not drift"
    missing = "" if run.rows_missing is None else f"{wording.count(run.rows_missing)} missing in the source"
    current = health.current_rows if health.current_rows is not None else run.rows
    tiles = [
        Tile("Current rows", wording.count(current), missing, "warning" if run.rows_missing else ""),
        Tile("Reference rows", wording.count(run.reference_rows)),
        Tile("Over Evidently's threshold", f"{drifted} of {len(run.features)}", f"features; {dataset}"),
    ]
    tiles += [
        _accuracy(name, accuracy)
        for name, accuracy in (
            ("Estimated accuracy", run.estimated_accuracy),
            ("Realised accuracy", run.realised_accuracy),
        )
        if accuracy
    ]
    return tuple(tiles)


def _verdict(run: Run) -> tuple[str, str, str]:
    assert run.alarm is not None
    raised = [_named(scope, run) for scope, one in run.alarm.scopes.items() if one.raised]
    if run.alarm.any:
        return "alarm", "Alarm", f"What changed: {_listed(raised)}."
    pending = [(scope, one) for scope, one in run.alarm.scopes.items() if one.exceeded]
    if pending:
        sentences = [
            f"{SCOPE_WORDS[scope]} in {one.runs} of {run.alarm.runs_needed} evaluations"
            for scope, one in pending
        ]
        return "watching", "Watching", f"A change is likely and not lasting yet: {_listed(sentences)}."
    return "good", "No drift found", "Current rows look like the reference."


def _named(scope: str, run: Run) -> str:
    """Name a scope; the features that spoke are named too."""
    assert run.alarm is not None
    level = run.alarm.scopes[scope].level
    names = [one.name for one in run.features if one.p_value is not None and one.p_value <= level]
    if scope != "features" or not names:
        return SCOPE_WORDS[scope]
    more = len(names) - FEATURES_NAMED
    shown = ", ".join(names[:FEATURES_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{SCOPE_WORDS[scope]} ({shown})"


def _accuracy(name: str, accuracy: Accuracy) -> Tile:
    interval = f"{wording.percent(accuracy.low)} to {wording.percent(accuracy.high)}"
    return Tile(name, wording.percent(accuracy.value), f"{interval}, {wording.count(accuracy.rows)} rows")


def _ago(run: Run, now: float) -> str:
    moment = wording.seconds_of(run.evaluated_at)
    return f"{wording.age(now - moment)} ago, {wording.clock(moment)}, made in {run.duration_seconds:.2g} s"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}".removesuffix(".") + "." if reason else ""


def _listed(parts: list[str]) -> str:
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"
