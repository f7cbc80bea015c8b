"""Whether two models say the same of the same rows."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.artifacts import Outputs
from inference.errors import InvalidRequestError, Violation
from inference.generation import Generation
from inference.kinds import Kind
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

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:  # noqa: ARG002  # only numbers
        assert column_count == self._numbers.shape[1], "the columns were chosen by the model's own names"
        return Decoded(self._numbers)

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].values[{column}]"


def features_for(
    shadow: Generation, default: Generation, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the columns of `features` (rows, features of `default`) that `shadow` takes, in its order.

    Raises `InvalidRequestError` when `shadow` needs a feature that is not there, or whole numbers where there
    are others, does not know a category, or takes no missing values, and when one model classifies and the other
    does not.
    """
    if bool(shadow.classes) != bool(default.classes):
        raise InvalidRequestError([Violation("classes", "one model classifies, and the other does not")])
    given = default.signature.names
    missing = [name for name in shadow.signature.names if name not in given]
    if missing:
        raise InvalidRequestError([Violation("feature_names", f"misses {missing[0]}")])
    columns = [given.index(name) for name in shadow.signature.names]
    chosen = features[:, columns]
    if not (default.signature.is_plain and shadow.signature.is_plain):
        kinds = [default.signature.kinds[column] for column in columns]
        chosen = np.stack([*map(_recoded, chosen.T, kinds, shadow.signature.kinds)], axis=1)
    return np.ascontiguousarray(shadow.signature.features_of(_Matrix(chosen)))


def _recoded(column: NDArray[np.float32], given: Kind, taken: Kind) -> NDArray[np.float32]:
    """Return the codes that `taken` has for the texts of `column`: two trainings may know different categories."""
    if given.is_category != taken.is_category:
        raise InvalidRequestError(
            [Violation(given.name, "is a category to one model, and a number to the other")]
        )
    if given.categories == taken.categories:
        return column
    # Infinity is what no model takes, so an unknown text is refused as everywhere.
    codes = [math.inf if (code := taken.code_of(text)) is None else code for text in given.categories]
    missing = np.isnan(column)
    recoded = np.array(codes, np.float32)[np.where(missing, 0, column).astype(np.intp)]
    return np.where(missing, np.float32(math.nan), recoded)


def agreeing_rows(
    default: Outputs, default_classes: Sequence[str], shadow: Outputs, shadow_classes: Sequence[str]
) -> int:
    """Return for how many rows both say the same class, or values within `REGRESSION_TOLERANCE_RATIO`."""
    if default.class_index is not None and shadow.class_index is not None:
        same = np.array(default_classes)[default.class_index] == np.array(shadow_classes)[shadow.class_index]
        return int(np.count_nonzero(same))
    assert default.values is not None
    assert shadow.values is not None
    larger = np.maximum(np.abs(default.values), np.abs(shadow.values))
    close = np.abs(default.values - shadow.values) <= REGRESSION_TOLERANCE_RATIO * larger
    return int(np.count_nonzero(close))
