"""What every predictor takes and gives."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Outputs", "Predictor"]


class Outputs(NamedTuple):
    """What a model gives for a batch of rows.

    Classification sets both `class_index` (rows,) and `probabilities` (rows, classes), since a classifier without
    probabilities is refused; regression sets `values` (rows,). What does not apply is None.
    """

    class_index: NDArray[np.int64] | None = None
    probabilities: NDArray[np.float32] | None = None
    values: NDArray[np.float64] | None = None


class Predictor(Protocol):
    """A loaded model; any number of threads may call it at one time."""

    @property
    def runtime(self) -> str:
        """What executes the model, `onnx` or `sklearn`: a label of metrics."""

    def predict(self, features: NDArray[np.float32]) -> Outputs:
        """Predict for `features` (rows, features), C-contiguous, columns in the order of the manifest."""
