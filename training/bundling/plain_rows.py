"""Rows for a model that comes without data: where its outputs differ, and always the same ones.

A row far from all that a model has seen tells little: a forest gives one answer out there. So each feature
ranges over what the fitted parts of the estimator give away (means and scales, thresholds, stored rows) and
what the input example has.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from mlflow.models import Model
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from training.bundling.plain_features import PlainFeature
from training.bundling.thresholds import splits

__all__ = ["make_rows", "read_example"]

#: Enough that every class of a model turns up and golden rows near its boundaries can be chosen.
_ROWS: Final = 1024
#: Rows of an input example that count; the rest says no more.
_EXAMPLE_ROWS: Final = 16
#: Beyond three scales next to nothing lies.
_SCALES: Final = 3.0
#: Where nothing is known: the range of standardised features.
_UNKNOWN: Final = (-3.0, 3.0)
#: Fitted attributes that hold rows in the space of the features.
_STORED_ROWS: Final = ("support_vectors_", "_fit_X", "X_train_", "theta_", "means_", "data_min_", "data_max_")

_Numbers = NDArray[np.float64]


def read_example(directory: Path, mlmodel: Model, features: Sequence[PlainFeature]) -> _Numbers:
    """Return the first rows of the input example, none when it is missing or not one of these features."""
    none = np.empty((0, len(features)))
    if not mlmodel.saved_input_example_info:
        return none
    try:
        found = mlmodel.load_input_example(str(directory))
        if isinstance(found, pd.DataFrame) and {feature.name for feature in features} <= set(found.columns):
            found = found[[feature.name for feature in features]]
        rows = np.asarray(found, dtype=np.float64)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # somebody else's file: it is a hint, and the model is judged without
        return none
    if rows.ndim != 2 or rows.shape[1] != len(features):
        return none
    finite = np.isfinite(rows.astype(np.float32)).all(axis=1)
    return rows[finite][:_EXAMPLE_ROWS]


def make_rows(estimator: BaseEstimator, features: Sequence[PlainFeature], example: _Numbers) -> pd.DataFrame:
    """Return a table with the example first and random rows after it; whole numbers are int64."""
    nothing = np.full((1, len(features)), np.nan)
    known = np.concatenate([nothing, example, *_known_rows(estimator, len(features))])
    low, high = np.fmin.reduce(known), np.fmax.reduce(known)  # which pass over NaN
    low, high = np.where(np.isfinite(low), low, _UNKNOWN[0]), np.where(np.isfinite(high), high, _UNKNOWN[1])
    margin = np.where(high > low, (high - low) * 0.1, 1.0)
    random = np.random.default_rng(0)
    rows = random.uniform(low - margin, high + margin, (_ROWS, len(features)))
    table = np.concatenate([example, rows]).astype(np.float32).astype(np.float64)
    columns = {
        feature.name: np.rint(column).astype(np.int64) if feature.whole else column
        for feature, column in zip(features, table.T, strict=True)
    }
    return pd.DataFrame(columns)


def _known_rows(estimator: BaseEstimator, width: int) -> Iterator[_Numbers]:
    """Yield rows of numbers that tell where the features lie; NaN where one says nothing."""
    if isinstance(estimator, Pipeline):
        # What the first step says is about the features themselves, unless it passes them on unchanged.
        yield from _known_rows(estimator.steps[0][1], width)
        return
    centre = getattr(estimator, "mean_" if hasattr(estimator, "mean_") else "center_", None)
    scale = getattr(estimator, "scale_", None)
    if centre is not None and scale is not None and _is_row(centre, width) and _is_row(scale, width):
        yield np.array([centre - _SCALES * scale, centre + _SCALES * scale], dtype=np.float64)
    for name in _STORED_ROWS:
        stored = getattr(estimator, name, None)
        if isinstance(stored, np.ndarray) and stored.dtype.kind == "f" and stored.shape[-1:] == (width,):
            yield stored.reshape(-1, width).astype(np.float64)
    yield from _threshold_rows(estimator, width)


def _is_row(values: Any, width: int) -> bool:  # noqa: ANN401 (whatever an estimator keeps)
    return isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.shape == (width,)


def _threshold_rows(estimator: BaseEstimator, width: int) -> Iterator[_Numbers]:
    """Yield the least and the largest threshold of each feature that trees split on."""
    found: list[list[float]] = [[] for _ in range(width)]
    for feature, threshold in splits(estimator):
        if 0 <= feature < width:
            found[feature].append(threshold)
    mapper = getattr(estimator, "_bin_mapper", None)  # of histogram gradient boosting
    for column, thresholds in zip(found, getattr(mapper, "bin_thresholds_", []), strict=False):
        column.extend(np.asarray(thresholds, dtype=np.float64).tolist())
    if any(found):
        finite = [[value for value in column if np.isfinite(value)] or [np.nan] for column in found]
        yield np.array([[min(column) for column in finite], [max(column) for column in finite]])
