"""Whether two models say the same of the same rows."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.artifacts import Outputs
from inference.errors import InvalidRequestError, Violation
from inference.generation import Generation
from inference.rows import Decoded

__all__ = ["REGRESSION_TOLERANCE_RATIO", "agreeing_rows", "features_for"]

#: Values of regression agree when they differ by at most this part of the larger one. Two trainings on the same
#: data seldom agree more closely, and a difference of one percent seldom changes what is done with a value.
REGRESSION_TOLERANCE_RATIO: Final = 0.01


class _Matrix:
    """Rows that another model has read already."""

    def __init__(self, numbers: NDArray[np.float32]) -> None:
        self._numbers = numbers

    @property
    def row_count(self) -> int:
        return len(self._numbers)

    def decode(self, column_count: int) -> Decoded:
        assert column_count == self._numbers.shape[1], "the columns were chosen by the model's own names"
        return Decoded(self._numbers)

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].values[{column}]"


def features_for(
    shadow: Generation, primary: Generation, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the columns of `features` (rows, features of `primary`) that `shadow` takes, in its order.

    Raises `InvalidRequestError` when `shadow` needs a feature that is not there, or whole numbers where there
    are others, and when one model classifies and the other does not.
    """
    if bool(shadow.classes) != bool(primary.classes):
        raise InvalidRequestError([Violation("classes", "one model classifies, and the other does not")])
    given = primary.signature.names
    missing = [name for name in shadow.signature.names if name not in given]
    if missing:
        raise InvalidRequestError([Violation("feature_names", f"misses {missing[0]}")])
    columns = [given.index(name) for name in shadow.signature.names]
    return np.ascontiguousarray(shadow.signature.features_of(_Matrix(features[:, columns])))


def agreeing_rows(
    primary: Outputs, primary_classes: Sequence[str], shadow: Outputs, shadow_classes: Sequence[str]
) -> int:
    """Return for how many rows both say the same class, or values within `REGRESSION_TOLERANCE_RATIO`."""
    if primary.class_index is not None and shadow.class_index is not None:
        same = np.array(primary_classes)[primary.class_index] == np.array(shadow_classes)[shadow.class_index]
        return int(np.count_nonzero(same))
    assert primary.values is not None
    assert shadow.values is not None
    larger = np.maximum(np.abs(primary.values), np.abs(shadow.values))
    close = np.abs(primary.values - shadow.values) <= REGRESSION_TOLERANCE_RATIO * larger
    return int(np.count_nonzero(close))
