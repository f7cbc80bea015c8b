"""An array into the block form of a request, in half the bytes where that loses nothing."""

from collections.abc import Sequence
from typing import Any, Final

from inference.client.errors import InvalidRequestError, Violation
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["MISSING", "fill_tensor", "quoted"]

#: Characters of a value that a sentence repeats.
_MAX_QUOTED: Final = 64

#: What pandas has for a missing value in columns of mixed kinds, besides None.
MISSING: Final = frozenset({"NAType", "NaTType", "NoneType"})


def fill_tensor(tensor: pb.RowTensor, array: Any, names: Sequence[str] = ()) -> None:  # noqa: ANN401  # a 2-D array
    """Put a 2-D array into `tensor`: as 32-bit floats when they equal the numbers, else as doubles.

    Raises `InvalidRequestError` when there is something in it that is no number; `names` are its columns'.
    """
    import numpy as np  # noqa: PLC0415  # who has no array pays nothing for it

    if array.dtype.kind == "O":
        array = np.array(
            [
                [_number(value, row, column, names) for column, value in enumerate(values)]
                for row, values in enumerate(array)
            ],
            np.float64,
        ).reshape(array.shape)
    elif array.dtype.kind not in "biuf":
        raise InvalidRequestError.of([Violation("rows", f"found dtype {array.dtype}, expected numbers")])
    tensor.row_count, tensor.column_count = array.shape
    wide = array.astype(np.float64)
    with np.errstate(over="ignore"):  # what overflows is not equal, and goes as it is
        narrow = wide.astype("<f4")
    if np.array_equal(narrow, wide, equal_nan=True):
        tensor.float32_values = narrow.tobytes()
    else:
        tensor.values.extend(wide.ravel().tolist())


def _number(value: Any, row: int, column: int, names: Sequence[str]) -> float:  # noqa: ANN401  # what stands in a table
    if type(value).__name__ in MISSING:
        return float("nan")
    if not isinstance(value, str | bytes | complex):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    feature = f" (feature {names[column]})" if column < len(names) else ""
    found = f"found {quoted(value)}, expected a number{feature}"
    raise InvalidRequestError.of([Violation(f"rows[{row}].values[{column}]", found, row, column)])


def quoted(value: object) -> str:
    """Return a value as a sentence repeats it: not more than a little of it."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
