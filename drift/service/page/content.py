"""What stands on the page, ready to be laid out: no HTML yet, and no question left open."""

from dataclasses import dataclass
from typing import Final

from drift.errors import HistoryError
from drift.evaluation import Evaluation
from drift.monitor import Health
from drift.service.history import History, PastError, Verdict
from drift.service.page import columns, figures, headline, scopes, wording
from drift.service.page.chart import Period
from drift.service.page.columns import ColumnView
from drift.service.page.figures import Figure
from drift.service.page.headline import Headline, Tile
from drift.service.page.scopes import ScopeView
from drift.service.page.timeline import Timeline
from drift.service.run import Run, run_of

__all__ = ["DEFAULT_SPAN", "SPANS", "Content", "ErrorView", "content_of"]

#: How far back the figures go, by the word in the address; in seconds.
SPANS: Final = {"6h": 21_600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_592_000.0}
DEFAULT_SPAN: Final = "day"
#: More points than this do not show in a figure on a phone, and make the page of a hundred features heavy.
_POINTS: Final = 120
_ERRORS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class ErrorView:
    """A reason for which evaluations failed, and when."""

    reason: str
    when: str


@dataclass(frozen=True, slots=True)
class Content:
    """The page. `columns`, `folded`, `scopes` and `tiles` are empty before the first verdict."""

    headline: Headline
    tiles: tuple[Tile, ...]
    scopes: tuple[ScopeView, ...]
    overview: tuple[Figure, ...]
    columns: tuple[ColumnView, ...]
    folded: tuple[ColumnView, ...]
    errors: tuple[ErrorView, ...]
    history_error: str
    spans: tuple[str, ...]
    span: str
    begins: str
    ends: str
    evaluating: bool


@dataclass(frozen=True, slots=True)
class _Past:
    """What the history knows, or nothing and the reason."""

    runs: tuple[Run, ...] = ()
    verdict: Verdict | None = None
    errors: tuple[PastError, ...] = ()
    alarm_since: float | None = None
    error: str = ""


def content_of(
    health: Health, reached: Evaluation | None, history: History, *, now: float, span: str
) -> Content:
    """Return the page for the monitor's health and last verdict, with the runs of the last `span` (of `SPANS`)."""
    past = _remember(history, now - SPANS[span])
    verdict = _last_verdict(reached, past)
    run = verdict.run if verdict else None
    shown = Timeline.of(past.runs, _period(past.runs, now))
    open_columns, folded = (
        columns.column_views(run, verdict.distributions, shown) if verdict and run else ((), ())
    )
    return Content(
        headline=headline.headline_of(health, run, past.alarm_since, now),
        tiles=headline.tiles_of(run, health) if run else (),
        scopes=scopes.scope_views(run, shown) if run else (),
        overview=_overview(run, shown),
        columns=open_columns,
        folded=folded,
        errors=tuple(_error(one) for one in past.errors),
        history_error=past.error,
        spans=tuple(SPANS),
        span=span,
        begins=wording.short_clock(shown.period.begin),
        ends=wording.short_clock(shown.period.end),
        evaluating=health.evaluating,
    )


def _remember(history: History, since: float) -> _Past:
    try:
        return _Past(
            tuple(history.series(since, _POINTS)),
            history.last_verdict(),
            tuple(history.errors(_ERRORS_SHOWN)),
            history.alarm_since(),
        )
    except HistoryError as error:
        return _Past(error=str(error))


def _last_verdict(reached: Evaluation | None, past: _Past) -> Verdict | None:
    """Return the verdict of this process, before its first one that of an earlier process."""
    if reached is None:
        return past.verdict
    return Verdict(run_of(reached), reached.distributions)


def _period(runs: tuple[Run, ...], now: float) -> Period:
    begin = min((wording.seconds_of(run.evaluated_at) for run in runs), default=now)
    return Period(begin, max(now, begin))


def _overview(run: Run | None, timeline: Timeline) -> tuple[Figure, ...]:
    if not timeline.runs:
        return ()
    drawn = [figures.rows(timeline)]
    if run is not None:
        drawn.insert(0, figures.worst(timeline, columns.worst_names(run)))
        if run.prediction is not None:
            drawn.insert(1, figures.psi(timeline, run.prediction.name, "PSI of the predictions"))
    accuracy = figures.accuracy(timeline)
    return (*drawn, accuracy) if accuracy else tuple(drawn)


def _error(error: PastError) -> ErrorView:
    when = wording.clock(error.last)
    if error.count > 1:
        when += f", and {error.count - 1} more since {wording.clock(error.first)}"
    return ErrorView(error.reason, when)
