"""Evidently itself beside our statistics, and columns of every kind to give to both."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
        sides = [_clean(pd.Series(side)) for side in (reference, current)]
        test = get_stattest(*sides, kind, method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.random.seed(0)  # the maximum mean discrepancy draws from it
            found = test(*sides, kind, None)
        return Theirs(
            test.display_name, float(found.drift_score), float(found.actual_threshold), bool(found.drifted)
        )

    return ask


def _clean(side: "pd.Series[Any]") -> "pd.Series[Any]":
    return side[~side.isin([-np.inf, np.inf])].dropna()


def as_features(columns: Sequence[Sequence[float]], predictions: Column | None = None) -> Rows:
    """Return rows of these features; without predictions all of them are `a`."""
    features = np.array(columns, dtype=np.float64).T
    given = ["a"] * len(features) if predictions is None else predictions
    kind = object if isinstance(given[0], str) else np.float64
    return Rows(features, np.array(given, dtype=kind))


def reference_of(rows: Rows) -> Reference:
    """Return the reference of rows that have only features of numbers."""
    names = tuple(f"feature_{place}" for place in range(rows.features.shape[1]))
    schema = Schema(names, "label" if rows.predictions.dtype == object else "number")
    return Reference(schema, rows, len(rows))


def compare_rows(reference: Rows, current: Rows, methods: str = "") -> Comparison:
    """Prepare and compare."""
    return compare(prepare(reference_of(reference), Methods.parse(methods)), current)


def sides_of(reference: Column, current: Column) -> tuple[Rows, Rows]:
    """Return two sides of one column: a feature when it is numbers, the predictions when it is texts."""

    def rows(side: Column) -> Rows:
        if isinstance(side[0], str):
            return as_features([[0.0] * len(side)], side)
        return as_features([[float(value) for value in side]])

    return rows(reference), rows(current)


def compare_column(reference: Column, current: Column, method: str | None = None) -> ColumnDrift:
    """Compare one column, as `sides_of` makes it."""
    sides = sides_of(reference, current)
    texts = isinstance(reference[0], str)
    name = "prediction" if texts else "feature_0"
    found = compare_rows(*sides, f"{name}={method}" if method else "")
    return found.prediction if texts else found.features[0]
