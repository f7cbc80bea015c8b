"""Evidently itself beside our statistics, and columns of every kind to give to both."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from drift.rows import Reference, Rows, Schema
from drift.statistics import ColumnDrift, Comparison, Methods, compare, prepare

Column = Sequence[float] | Sequence[str]
Evidently = Callable[..., "Theirs"]


@dataclass(frozen=True)
class Theirs:
    """What Evidently says of one column."""

    method: str
    statistic: float
    threshold: float
    drifted: bool


@pytest.fixture(scope="session")
def evidently() -> Evidently:
    """A function that asks Evidently's own statistics, behind the cleaning that its reports do before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

    def ask(reference: Column, current: Column, method: str | None = None) -> Theirs:
        kind = ColumnType.Categorical if isinstance(reference[0], str) else ColumnType.Numerical
        sides = [pd.Series(side).replace([-np.inf, np.inf], np.nan).dropna() for side in (reference, current)]
        test = get_stattest(*sides, kind, method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.random.seed(0)  # the maximum mean discrepancy draws from it
            found = test(*sides, kind, None)
        return Theirs(
            test.display_name, float(found.drift_score), float(found.actual_threshold), bool(found.drifted)
        )

    return ask


def as_features(columns: Sequence[Sequence[float]], predictions: Column | None = None) -> Rows:
    """Return rows of these features; without predictions all of them are `a`."""
    features = np.array(columns, dtype=np.float64).T
    given = ["a"] * len(features) if predictions is None else predictions
    kind = object if isinstance(given[0], str) else np.float64
    return Rows(features, np.array(given, dtype=kind))


def reference_of(rows: Rows) -> Reference:
    """Return the reference of rows that have only features of numbers."""
    names = tuple(f"feature_{place}" for place in range(rows.features.shape[1]))
    kind = "label" if rows.predictions.dtype == object else "number"
    return Reference(Schema(names, kind), rows, len(rows))  # type: ignore[arg-type]


def compare_rows(reference: Rows, current: Rows, methods: str = "") -> Comparison:
    """Prepare and compare."""
    return compare(prepare(reference_of(reference), Methods.parse(methods)), current)


def compare_column(reference: Column, current: Column, method: str | None = None) -> ColumnDrift:
    """Compare one column: a feature when it is numbers, the predictions when it is texts."""
    if isinstance(reference[0], str):
        sides = [as_features([np.zeros(len(side))], side) for side in (reference, current)]
        return compare_rows(*sides, f"prediction={method}" if method else "").prediction
    sides = [as_features([side]) for side in (reference, current)]  # type: ignore[list-item]
    return compare_rows(*sides, f"feature_0={method}" if method else "").features[0]
