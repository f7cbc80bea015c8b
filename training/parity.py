"""Does the compiled model say the same as scikit-learn? Asked where the two are most likely to differ.

A forest in float32 agrees everywhere but, if a converter rounds a threshold wrongly, on rows that lie at it.
So besides training rows and random rows, values are placed at split thresholds and at the floats just beside
them, and at the midpoints between neighbouring training values, where trees behind a scaler split.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from protos.inference.v1.manifest_pb2 import Parity
from training.compile import OnnxModel
from training.fit import FittedModel

__all__ = ["compare_outputs", "parity_bound", "probe_rows", "splits"]

#: Measured for forests: 6.6e-7 at most, over 480 000 rows (100 trees sum float32 shares); ten times that.
_PROBABILITY_BOUND: Final = 1e-5

#: Of a value, relative to the spread of the values. Measured: 1.05e-5 for 100 trees that sum float32 values
#: ten spreads away from zero.
_VALUE_BOUND: Final = 1e-4

#: Rows of each kind. A scaler in front of trees flips one row in 50 to 1000, so thousands find it.
_TRAINING_ROWS: Final = 4096
_RANDOM_ROWS: Final = 4096
_MIDPOINT_ROWS: Final = 4096
_THRESHOLDS: Final = 1365

_Rows = NDArray[np.float32]


def parity_bound(model: FittedModel) -> float:
    """Return the largest difference that passes: of a probability, or of a value in spreads."""
    return _PROBABILITY_BOUND if model.plan.is_classification else _VALUE_BOUND


def compare_outputs(model: FittedModel, compiled: OnnxModel, seed: int) -> Parity:
    """Compare `compiled` with scikit-learn on `probe_rows`; the verdict is in the message."""
    rows, bound = probe_rows(model, seed), parity_bound(model)
    inputs = model.inputs(rows)
    expected, outputs = model.predict(inputs), compiled.run(rows)
    if model.plan.is_classification:
        differences = np.abs(model.probabilities(inputs) - outputs[1]).max(axis=1)
        wrong = outputs[0] != expected
        noun = "label"
    else:
        spread = float(np.ptp(expected)) or 1.0
        differences = np.abs(expected - outputs[0].reshape(len(rows))) / spread
        wrong = ~(differences <= bound)
        noun = "value"
    largest, mismatches = float(differences.max()), int(wrong.sum())
    parity = Parity(
        passed=mismatches == 0 and largest <= bound,
        rows=len(rows),
        mismatches=mismatches,
        max_difference=largest,
        bound=bound,
    )
    if not parity.passed:
        parity.reason = (
            f"{mismatches} of {len(rows)} compared rows got another {noun} from ONNX than from scikit-learn, "
            f"and the largest difference is {largest:.3g} where {bound:g} is the bound"
        )
    return parity


def probe_rows(model: FittedModel, seed: int) -> _Rows:
    """Return the rows to compare on, float32; the same for the same model and seed."""
    random = np.random.default_rng(seed)
    known = model.inputs().to_numpy()
    training = known[model.train_rows]
    sample = training[np.sort(random.permutation(len(training))[:_TRAINING_ROWS])]
    low, high = known.min(axis=0).astype(np.float64), known.max(axis=0).astype(np.float64)
    margin = (high - low) * 0.1  # a little beyond what was seen: clients send such rows too
    uniform = random.uniform(low - margin, high + margin, (_RANDOM_ROWS, known.shape[1]))
    parts = [sample, uniform.astype(np.float32), _midpoint_rows(training, random)]
    rows = np.concatenate([*parts, *_threshold_rows(model, training, random)])
    whole = [table_type.kind in "iu" for table_type in model.table.frame[list(model.table.features)].dtypes]
    rows[:, whole] = np.rint(rows[:, whole])  # the server takes nothing else for such a feature
    return rows


def _midpoint_rows(training: _Rows, random: np.random.Generator) -> _Rows:
    columns = []
    for column in training.T:
        seen = np.unique(column).astype(np.float64)
        middles = (seen[1:] + seen[:-1]) / 2 if len(seen) > 1 else seen
        columns.append(random.choice(middles, _MIDPOINT_ROWS).astype(np.float32))
    return np.column_stack(columns)


def _threshold_rows(model: FittedModel, training: _Rows, random: np.random.Generator) -> Iterator[_Rows]:
    """Yield training rows with one feature moved to a threshold, to the float below it and to that above."""
    found = np.array(sorted(set(splits(model.estimator))), dtype=np.float64)
    if not len(found):
        return
    chosen = found[random.permutation(len(found))[:_THRESHOLDS]]
    features, thresholds = chosen[:, 0].astype(np.int64), chosen[:, 1].astype(np.float32)
    rows = training[random.integers(len(training), size=len(chosen))]
    for values in (thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)):
        moved = rows.copy()
        moved[np.arange(len(chosen)), features] = values
        yield moved


def splits(estimator: BaseEstimator) -> Iterator[tuple[int, float]]:
    """Yield (feature, threshold) of every split of a tree or an ensemble of trees, else nothing."""
    if hasattr(estimator, "tree_"):
        tree = estimator.tree_
        inner = tree.children_left != -1
        yield from zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)
    elif hasattr(estimator, "estimators_") and not hasattr(estimator, "estimators"):
        # `estimators` marks voting and stacking, whose members may see other features.
        for member in np.ravel(np.asarray(estimator.estimators_, dtype=object)):
            yield from splits(member)
