"""Our statistics beside Evidently's on the same rows: a difference means that one of the two changed."""

import math
from collections.abc import Iterator
from typing import Final

from drift.report.drawing import Drawn
from drift.report.handover import CrossCheck
from drift.report.plan import Plan
from drift.statistics import Comparison, Prepared
from drift.statistics.distance import DEVIATION_FLOOR
from drift.statistics.method import METHODS
from drift.statistics.prepared import Column
from drift.statistics.sample import Numbers

__all__ = ["cross_check"]

#: Threshold of the predictions' index, to which its difference is relative.
_PSI_THRESHOLD: Final = METHODS["psi"].threshold


def cross_check(plan: Plan, prepared: Prepared, comparison: Comparison, drawn: Drawn) -> CrossCheck:
    """Return the largest difference over all columns that both give the same method and rule."""
    differences = {
        name: _difference(ours, theirs, threshold)
        for name, ours, theirs, threshold in _pairs(plan, prepared, comparison, drawn)
        if math.isfinite(theirs)  # Evidently's chi-square of one category is no number, ours is 1
    }
    if not differences:
        return CrossCheck(0.0, None, 0)
    worst = max(differences, key=lambda name: differences[name])
    return CrossCheck(differences[worst], worst, len(differences))


def _pairs(
    plan: Plan, prepared: Prepared, comparison: Comparison, drawn: Drawn
) -> Iterator[tuple[str, float, float, float]]:
    columns = {
        column.name: column for column in (*prepared.features, prepared.prediction, prepared.target) if column
    }
    target = () if comparison.target is None else (comparison.target,)
    for drift in (*comparison.features, comparison.prediction, *target):
        theirs = drawn.values.get(drift.name)
        if theirs is None or drift.name not in plan.comparable or _has_rule_of_ours(columns[drift.name]):
            continue
        assert drift.statistic is not None
        assert drift.threshold is not None
        yield drift.name, drift.statistic, theirs, drift.threshold
    if drawn.psi is not None and comparison.prediction.psi is not None:
        yield "prediction (PSI)", comparison.prediction.psi, drawn.psi, _PSI_THRESHOLD


def _has_rule_of_ours(column: Column) -> bool:
    """Tell whether the Wasserstein distance of the column is divided by another number than Evidently's."""
    return isinstance(column.reference, Numbers) and column.reference.deviation < DEVIATION_FLOOR


def _difference(ours: float, theirs: float, threshold: float) -> float:
    if ours == 1.0 and theirs > 1 - 1e-3:  # see `statistics.kolmogorov`: SciPy's probability above 1
        return 0.0
    return abs(ours - theirs) / max(abs(theirs), threshold)
