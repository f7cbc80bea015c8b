"""The columns on the page: predictions and targets first, then the features, the worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drift.service.page import figures, wording
from drift.service.page.figures import PSI_THRESHOLD, Figure
from drift.service.page.timeline import Timeline
from drift.service.run import ColumnRun, Run, ScopeRun
from drift.statistics.column import NO_DATA, Distribution

__all__ = ["OPEN_FEATURES", "BinView", "ColumnView", "column_views", "worst_names"]

#: Features beyond the worst twelve are folded away: about a screen of a table.
OPEN_FEATURES: Final = 12
#: Features beyond the worst hundred are lines of the table alone, so that a page stays below a megabyte.
DRAWN_FEATURES: Final = 100
#: Longer texts of bins are cut on the page; the whole one is shown on pointing at it.
_LONGEST_BIN: Final = 28
#: Where the bar of a severity in the table ends: ten times the threshold.
_SEVERITY_BAR_END: Final = 10.0
_MISSING: Final = "missing"
_EMPTY: Final = "(empty)"


@dataclass(frozen=True, slots=True)
class BinView:
    """One bin: its text, cut and whole, and both shares, as widths of bars in percent of the largest, and written."""

    text: str
    whole: str
    missing: bool
    reference_width: float
    current_width: float
    reference: str
    current: str


@dataclass(frozen=True, slots=True)
class ColumnView:
    """One column: a line of the table, and what is drawn of it. `tone` is alarm, watching, warning, quiet or good."""

    name: str
    role: str
    tone: str
    verdict: str
    method: str
    statistic: str
    threshold: str
    severity: str
    severity_width: float
    severity_over: bool
    psi: str
    psi_over: bool
    p_value: str
    p_over: bool
    bins: tuple[BinView, ...]
    figures: tuple[Figure, ...]


def column_views(
    run: Run, distributions: Sequence[Distribution], timeline: Timeline
) -> tuple[tuple[ColumnView, ...], tuple[ColumnView, ...]]:
    """Return the columns that stand open, predictions and targets among them, and those that are folded."""
    spread = {one.name: one for one in distributions}
    ranked = _ranked(run)
    special = [
        (role, column) for role, column in (("prediction", run.prediction), ("target", run.target)) if column
    ]
    open_ones = [*special, *(("feature", column) for column in ranked[:OPEN_FEATURES])]
    folded = [("feature", column) for column in ranked[OPEN_FEATURES:]]
    drawn = DRAWN_FEATURES - OPEN_FEATURES

    def view(role: str, column: ColumnRun, *, draw: bool) -> ColumnView:
        return _view(role, column, run, spread, timeline if draw else None)

    return (
        tuple(view(role, column, draw=True) for role, column in open_ones),
        tuple(view(role, column, draw=place < drawn) for place, (role, column) in enumerate(folded)),
    )


def worst_names(run: Run) -> list[str]:
    """Return the names of the features, the worst first."""
    return [column.name for column in _ranked(run)]


def _ranked(run: Run) -> list[ColumnRun]:
    """Those that the alarm names come first, then those without data, then by severity; equal ones in model order."""

    def key(column: ColumnRun) -> tuple[bool, bool, float]:
        return (_speaking_scope(column, run) is not None, column.method == NO_DATA, column.severity or 0.0)

    return sorted(run.features, key=key, reverse=True)


def _speaking_scope(column: ColumnRun, run: Run) -> ScopeRun | None:
    """Return the scope of the alarm whose level this column exceeded, if it did."""
    if run.alarm is None or column.p_value is None:
        return None
    scope = run.alarm.scopes.get("prediction" if column is run.prediction else "features")
    return scope if scope is not None and column.p_value <= scope.level else None


def _view(
    role: str, column: ColumnRun, run: Run, spread: Mapping[str, Distribution], timeline: Timeline | None
) -> ColumnView:
    scope = _speaking_scope(column, run)
    tone, verdict = _verdict(column, scope)
    severity = column.severity or 0.0
    distribution = spread.get(column.name)
    drawn: tuple[Figure, ...] = ()
    if timeline is not None:
        drawn = (figures.severity(timeline, column.name),)
        if column.psi is not None:
            drawn += (figures.psi(timeline, column.name),)
    return ColumnView(
        name=column.name,
        role=role,
        tone=tone,
        verdict=verdict,
        method=column.method,
        statistic=wording.number(column.statistic),
        threshold=wording.number(column.threshold),
        severity=wording.severity(column.severity),
        severity_width=round(100 * min(1.0, severity / _SEVERITY_BAR_END), 1),
        severity_over=column.drifted,
        psi=wording.number(column.psi),
        psi_over=column.psi is not None and column.psi >= PSI_THRESHOLD,
        p_value=wording.p_value(column.p_value),
        p_over=scope is not None,
        bins=_bins(distribution) if distribution and timeline else (),
        figures=drawn,
    )


def _verdict(column: ColumnRun, scope: ScopeRun | None) -> tuple[str, str]:
    """Return the tone and the words; the alarm is calibrated and comes before Evidently's fixed threshold."""
    if scope is not None:
        return ("alarm", "changed") if scope.raised else ("watching", "likely changed")
    if column.method == NO_DATA:
        return "warning", "no data"
    if column.drifted:
        return "quiet", "over threshold"
    return "good", "ok"


def _bins(distribution: Distribution) -> tuple[BinView, ...]:
    shares = list(zip(distribution.bins, distribution.reference, distribution.current, strict=True))
    largest = max((share for _, *both in shares for share in both), default=0.0)
    missing = (distribution.missing_reference, distribution.missing_current)
    largest = max(largest, *missing) or 1.0
    # Bins for what has not come yet, such as texts that the reference lacks, are shown once it comes.
    views = [
        _bin(text, reference, current, largest)
        for text, reference, current in shares
        if reference > 0 or current > 0
    ]
    if any(missing):
        views.append(_bin(_MISSING, *missing, largest, missing=True))
    return tuple(views)


def _bin(text: str, reference: float, current: float, largest: float, *, missing: bool = False) -> BinView:
    shown = text if text.strip() else _EMPTY
    return BinView(
        text=shown if len(shown) <= _LONGEST_BIN else shown[: _LONGEST_BIN - 1] + "…",
        whole=shown,
        missing=missing,
        reference_width=round(100 * reference / largest, 1),
        current_width=round(100 * current / largest, 1),
        reference=wording.percent(reference),
        current=wording.percent(current),
    )
