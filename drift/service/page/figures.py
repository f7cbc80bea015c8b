"""The figures of the page: which numbers of the runs become which lines, beside which axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from drift.accuracy.accuracy import Accuracy
from drift.service.page import wording
from drift.service.page.chart import (
    Axis,
    Band,
    Line,
    LinearAxis,
    LogAxis,
    Points,
    band_path,
    bands,
    line_path,
)
from drift.service.page.timeline import Timeline
from drift.service.run import ColumnRun, Run
from drift.statistics.method import METHODS

__all__ = ["PSI_THRESHOLD", "Figure", "accuracy", "p_values", "psi", "rows", "severity", "worst"]

#: Evidently's, which holds for the index of every column.
PSI_THRESHOLD: Final = METHODS["psi"].threshold
#: How many features the figure of the worst shows; the style sheet has as many colours.
_WORST_SHOWN: Final = 5
#: The smallest p-value of the calibration (of 1999 drawn windows 0.0005) is above it, and all below says the same.
_LEAST_P_POWER: Final = -4
#: Severities are shown from a tenth of the threshold to a thousand times.
_LEAST_SEVERITY_POWER, _LARGEST_SEVERITY_POWER = -1, 3

Pick = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: lines beside an axis, and the words around it.

    `ticks` stand beside the axis from top to bottom, evenly spaced. `limits` are heights of dashed lines, `area`
    the path of an interval, `raised` the stretches in which an alarm was raised. `now` is the last value, `summary`
    says more, for those who hear it.
    """

    title: str
    ticks: tuple[str, ...]
    lines: tuple[Line, ...]
    summary: str
    now: str = ""
    limits: tuple[float, ...] = ()
    limit_text: str = ""
    area: str = ""
    raised: tuple[Band, ...] = ()


def p_values(timeline: Timeline, scope: str, level: float) -> Figure:
    """Draw the p-values of one scope; small ones, which speak for a change, stand high."""

    def pick(run: Run) -> float | None:
        found = run.alarm.scopes.get(scope) if run.alarm else None
        return None if found is None else max(found.p_value, 10.0**_LEAST_P_POWER)

    flags = [
        (
            wording.seconds_of(run.evaluated_at),
            bool(run.alarm and scope in run.alarm.scopes and run.alarm.scopes[scope].raised),
        )
        for run in timeline.runs
    ]
    axis = LogAxis(top=_LEAST_P_POWER, bottom=0)
    points = timeline.points(pick)
    return Figure(
        title="p-value",
        ticks=tuple(f"{tick:g}" for tick in axis.ticks),
        lines=(_line("p-value", "one", points, timeline, axis),),
        summary=_summary(points, wording.p_value),
        now=_now(points, wording.p_value),
        limits=(axis.place(level),),
        limit_text="level; shaded: alarm",
        raised=bands(flags, timeline.period),
    )


def severity(timeline: Timeline, name: str) -> Figure:
    """Draw the severity of one column; its threshold is 1."""
    points = timeline.points_of(name, _severity)
    axis = _severity_axis(points)
    return Figure(
        title="severity",
        ticks=_ticks(axis),
        lines=(_line("severity", "one", points, timeline, axis),),
        summary=_summary(points, wording.severity),
        now=_now(points, wording.severity),
        limits=(axis.place(1.0),),
    )


def worst(timeline: Timeline, names: Sequence[str]) -> Figure:
    """Draw the severities of the first columns of `names` in one figure."""
    shown = list(names[:_WORST_SHOWN])
    series = [timeline.points_of(name, _severity) for name in shown]
    axis = _severity_axis([point for points in series for point in points])
    return Figure(
        title="Severity of the worst features",
        ticks=_ticks(axis),
        lines=tuple(
            _line(name, f"line{place}", points, timeline, axis)
            for place, (name, points) in enumerate(zip(shown, series, strict=True))
        ),
        summary="; ".join(
            f"{name} {_summary(points, wording.severity)}" for name, points in zip(shown, series, strict=True)
        ),
        limits=(axis.place(1.0),),
        limit_text="threshold",
    )


def psi(timeline: Timeline, name: str, title: str = "PSI") -> Figure:
    """Draw the population stability index of one column."""

    points = timeline.points_of(name, lambda column: column.psi)
    axis = LinearAxis.around(_values(points), at_least=2 * PSI_THRESHOLD)
    return Figure(
        title=title,
        ticks=_ticks(axis),
        lines=(_line("PSI", "one", points, timeline, axis),),
        summary=_summary(points, wording.number),
        now=_now(points, wording.number),
        limits=(axis.place(PSI_THRESHOLD),),
        limit_text=f"Evidently's threshold {PSI_THRESHOLD:g}",
    )


def rows(timeline: Timeline) -> Figure:
    """Draw how many current rows there were."""
    points = timeline.points(lambda run: run.rows)
    axis = LinearAxis.around(_values(points), at_least=10.0)
    return Figure(
        title="Current rows",
        ticks=tuple(f"{tick:,.0f}" for tick in axis.ticks),
        lines=(_line("current rows", "one", points, timeline, axis),),
        summary=_summary(points, lambda value: wording.count(round(value))),
        now=_now(points, lambda value: wording.count(round(value))),
    )


def accuracy(timeline: Timeline) -> Figure | None:
    """Draw estimated and realised accuracy, the interval of the first as an area; None where no run has either."""

    def estimated(run: Run) -> Accuracy | None:
        return run.estimated_accuracy

    def realised(run: Run) -> Accuracy | None:
        return run.realised_accuracy

    known = [one for run in timeline.runs for one in (estimated(run), realised(run)) if one]
    if not known:
        return None
    lowest = min(one.low for one in known)
    axis = LinearAxis(top=1.0, bottom=next(end for end in (0.9, 0.8, 0.6, 0.5, 0.0) if end <= max(lowest, 0)))
    both = (("estimated", estimated, "one"), ("realised", realised, "two"))
    series = [(name, style, timeline.points(_part(pick, "value"))) for name, pick, style in both]
    banded = estimated if any(run.estimated_accuracy for run in timeline.runs) else realised
    return Figure(
        title="Accuracy",
        ticks=tuple(f"{tick:.0%}".replace("%", " %") for tick in axis.ticks),
        lines=tuple(
            _line(name, style, points, timeline, axis) for name, style, points in series if _values(points)
        ),
        summary="; ".join(
            f"{name} {_summary(points, wording.percent)}" for name, _, points in series if _values(points)
        ),
        area=band_path(
            timeline.points(_part(banded, "low")),
            timeline.points(_part(banded, "high")),
            timeline.period,
            axis,
        ),
        limit_text="shaded: 95 % interval",
    )


def _part(pick: Callable[[Run], Accuracy | None], field: str) -> Pick:
    def find(run: Run) -> float | None:
        found = pick(run)
        return None if found is None else float(getattr(found, field))

    return find


def _severity(column: ColumnRun) -> float | None:
    return column.severity


def _severity_axis(points: Points) -> LogAxis:
    return LogAxis.around(
        _values(points), lowest=_LEAST_SEVERITY_POWER, highest=1, limit=_LARGEST_SEVERITY_POWER
    )


def _line(name: str, style: str, points: Points, timeline: Timeline, axis: Axis) -> Line:
    path, last = line_path(points, timeline.period, axis)
    return Line(name, style, path, last)


def _ticks(axis: Axis) -> tuple[str, ...]:
    return tuple(f"{tick:g}" for tick in axis.ticks)


def _values(points: Points) -> list[float]:
    return [value for _, value in points if value is not None]


def _now(points: Points, write: Callable[[float], str]) -> str:
    values = _values(points)
    return write(values[-1]) if values else ""


def _summary(points: Points, write: Callable[[float], str]) -> str:
    values = _values(points)
    if not values:
        return "no value"
    now = f"now {write(values[-1])}"
    return now if min(values) == max(values) else f"{now}, from {write(min(values))} to {write(max(values))}"
