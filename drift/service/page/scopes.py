"""The alarm on the page, scope by scope."""

from dataclasses import dataclass
from typing import Final

from drift.alarm.verdict import SCOPES
from drift.service.page import figures, wording
from drift.service.page.figures import Figure
from drift.service.page.timeline import Timeline
from drift.service.run import Run, ScopeRun

__all__ = ["ScopeView", "scope_views"]

_QUESTIONS: Final = {
    "features": ("Features", "Does any feature, for itself, look different?"),
    "prediction": ("Predictions", "Does the model answer differently?"),
    "joint": ("Features together", "Do the features go together differently?"),
}


@dataclass(frozen=True, slots=True)
class ScopeView:
    """One scope: what is asked, the answer, and its p-values over time."""

    title: str
    question: str
    tone: str
    answer: str
    p_value: str
    level: str
    persistence: str
    figure: Figure


def scope_views(run: Run, timeline: Timeline) -> tuple[ScopeView, ...]:
    """Return a view of each scope that the alarm of `run` has."""
    if run.alarm is None:
        return ()
    return tuple(
        _view(scope, run.alarm.scopes[scope], run.alarm.runs_needed, timeline)
        for scope in SCOPES
        if scope in run.alarm.scopes
    )


def _view(scope: str, found: ScopeRun, needed: int, timeline: Timeline) -> ScopeView:
    title, question = _QUESTIONS[scope]
    if found.raised:
        tone, answer = "alarm", "changed"
    elif found.exceeded:
        tone, answer = "watching", "likely changed"
    else:
        tone, answer = "good", "no change found"
    return ScopeView(
        title=title,
        question=question,
        tone=tone,
        answer=answer,
        p_value=wording.p_value(found.p_value),
        level=wording.p_value(found.level),
        persistence=f"{found.runs} in a row; {needed} raise or end the alarm" if needed > 1 else "",
        figure=figures.p_values(timeline, scope, found.level),
    )
