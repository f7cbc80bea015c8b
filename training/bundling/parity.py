"""Does the compiled model say the same as scikit-learn? Asked where the two are most likely to differ.

A forest in float32 agrees everywhere but, if a converter rounds a threshold wrongly, on rows that lie at it.
So besides training rows and random rows, values are placed at split thresholds and at the floats just beside
them, and at the midpoints between neighbouring training values, where trees behind a scaler split. Where values
may be missing, they are; and every category of every column is asked for. Rows are made in the matrix; the
original model gets them as rows of the table, texts included, and the compiled one as they are.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from protos.inference.v1.manifest_pb2 import Parity
from training.bundling.compile import OnnxModel
from training.bundling.probes import probe_rows
from training.fitting.fit import FittedModel

__all__ = ["compare_outputs", "parity_bound", "probe_rows"]

#: Measured for forests: 6.6e-7 at most, over 480 000 rows (100 trees sum float32 shares); ten times that.
_PROBABILITY_BOUND: Final = 1e-5

#: Of a value, relative to the spread of the values. Measured: 1.05e-5 for 100 trees that sum float32 values
#: ten spreads away from zero.
_VALUE_BOUND: Final = 1e-4

#: No category of anybody: what a client may send to a column that takes unknown texts as missing.
_UNKNOWN: Final = "\u0001 unknown"


def parity_bound(model: FittedModel) -> float:
    """Return the largest difference that passes: of a probability, or of a value in spreads."""
    return _PROBABILITY_BOUND if model.plan.is_classification else _VALUE_BOUND


def compare_outputs(model: FittedModel, compiled: OnnxModel, seed: int) -> Parity:
    """Compare `compiled` with scikit-learn on `probe_rows`; the verdict is in the message."""
    rows, bound = probe_rows(model, seed), parity_bound(model)
    inputs = _with_unknown_texts(model, model.inputs(rows))
    expected, outputs = model.predict(inputs), compiled.run(rows)
    if model.plan.is_classification:
        shares = model.probabilities(inputs)
        differences = np.abs(shares - outputs[1]).max(axis=1)
        # At a tie (fifty trees against fifty) rounding chooses the label, in scikit-learn too: beyond it, equal
        # probabilities within the bound mean equal labels.
        wrong = (outputs[0] != expected) & (_margins(shares) > 2 * bound)
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


def _margins(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the most probable class of each row is ahead of the next."""
    if shares.shape[1] < 2:
        return np.ones(len(shares))
    two = np.sort(shares, axis=1)[:, -2:]
    margins: NDArray[np.float64] = two[:, 1] - two[:, 0]
    return margins


def _with_unknown_texts(model: FittedModel, inputs: pd.DataFrame) -> pd.DataFrame:
    """Put a text that is no category in place of every other missing one, where the server lets that pass."""
    for column in model.columns:
        if column.unknown_as_missing:
            missing = np.flatnonzero(inputs[column.name].isna())[::2]
            inputs.loc[inputs.index[missing], column.name] = _UNKNOWN
    return inputs
