"""The rows on which a compiled model is compared with the original: in the matrix, float32."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.inference.v1.manifest_pb2 import FeatureType
from training.bundling.thresholds import splits
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part

__all__ = ["probe_rows"]

#: Rows of each kind. A scaler in front of trees flips one row in 50 to 1000, so thousands find it.
_TRAINING_ROWS: Final = 4096
_RANDOM_ROWS: Final = 4096
_MIDPOINT_ROWS: Final = 4096
_CATEGORY_ROWS: Final = 4096
_THRESHOLDS: Final = 1365

#: Share of the random rows in which a value that may be missing is: often enough to meet pairs of them.
_MISSING_RATIO: Final = 0.1

_Rows = NDArray[np.float32]
_Column = NDArray[np.float32]


def probe_rows(model: FittedModel, seed: int) -> _Rows:
    """Return the rows to compare on, float32; the same for the same model and seed."""
    random = np.random.default_rng(seed)
    known = model.matrix()
    training = known[model.train_rows]
    sample = training[np.sort(random.permutation(len(training))[:_TRAINING_ROWS])]
    parts = [sample, _uniform_rows(known, random), _midpoint_rows(training, random)]
    rows = np.concatenate([*parts, *_threshold_rows(model, training, random)])
    for place, column in enumerate(model.columns):
        if column.is_category:
            at_random = random.integers(len(column.categories), size=len(rows) - len(sample))
            rows[len(sample) :, place] = at_random
        elif column.type == FeatureType.FEATURE_TYPE_INTEGER:
            rows[:, place] = np.rint(rows[:, place])  # the server takes nothing else for such a feature
        if column.nullable:
            rows[len(sample) :][random.random(len(rows) - len(sample)) < _MISSING_RATIO, place] = np.nan
    return np.concatenate([rows, *_category_rows(model, training, random)])


def _uniform_rows(known: _Rows, random: np.random.Generator) -> _Rows:
    seen = [column[~np.isnan(column)].astype(np.float64) for column in known.T]
    low = np.array([column.min(initial=np.inf) for column in seen])
    high = np.array([column.max(initial=-np.inf) for column in seen])
    low, high = np.where(low > high, 0.0, low), np.where(low > high, 0.0, high)  # a column without any value
    margin = (high - low) * 0.1  # a little beyond what was seen: clients send such rows too
    return random.uniform(low - margin, high + margin, (_RANDOM_ROWS, known.shape[1])).astype(np.float32)


def _midpoint_rows(training: _Rows, random: np.random.Generator) -> _Rows:
    columns = []
    for column in training.T:
        seen = np.unique(column[~np.isnan(column)]).astype(np.float64)
        middles = (seen[1:] + seen[:-1]) / 2 if len(seen) > 1 else seen
        drawn = random.choice(middles, _MIDPOINT_ROWS) if len(middles) else np.full(_MIDPOINT_ROWS, np.nan)
        columns.append(drawn.astype(np.float32))
    return np.column_stack(columns)


def _threshold_rows(model: FittedModel, training: _Rows, random: np.random.Generator) -> Iterator[_Rows]:
    """Yield training rows with one feature moved to a threshold, to the float below it and to that above."""
    numbers = [place for place, column in enumerate(model.columns) if not column.is_category]
    inside = (split for split in splits(matrix_part(model.estimator)) if split[0] in numbers)
    found = np.array(sorted(set(inside)), dtype=np.float64)
    if not len(found):
        return
    chosen = found[random.permutation(len(found))[:_THRESHOLDS]]
    features, thresholds = chosen[:, 0].astype(np.int64), chosen[:, 1].astype(np.float32)
    rows = training[random.integers(len(training), size=len(chosen))]
    for values in (thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)):
        moved = rows.copy()
        moved[np.arange(len(chosen)), features] = values
        yield moved


def _category_rows(model: FittedModel, training: _Rows, random: np.random.Generator) -> Iterator[_Rows]:
    """Yield training rows with one column moved to each of its categories, or with its value missing."""
    moves = [
        (place, value)
        for place, column in enumerate(model.columns)
        for value in [*map(float, range(len(column.categories))), *([np.nan] if column.nullable else [])]
    ]
    if not moves:
        return
    features, values = (np.array(part) for part in zip(*moves[:_CATEGORY_ROWS], strict=True))
    rows = training[random.integers(len(training), size=len(features))]
    rows[np.arange(len(features)), features] = values
    yield rows
    nullable = [column.nullable for column in model.columns]
    if any(nullable):
        empty = training[:1].copy()
        empty[:, nullable] = np.nan
        yield empty
