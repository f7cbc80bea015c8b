"""Rows as people have them, to the request that is sent.

What cannot be sent at all (dates, rows of different lengths) is refused here, by place; everything else is for the
server to judge, which alone knows the model. Rows of numbers go as numbers; when there is a text or None in one of
them, all go as cells. Arrays and frames are recognised by what they can do, so that callers without numpy and pandas
import neither.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from inference.client.cells import has_texts, row_of
from inference.client.errors import InvalidRequestError, Violation
from inference.client.tensor import fill_tensor, quoted
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["Encoded", "Rows", "encode", "is_frame", "is_table"]

#: Sequences of cells, mappings from feature name to cell, a 2-D numpy array, or a pandas DataFrame; a cell is a
#: number, the text of a category, or None for what is missing.
Rows: TypeAlias = "Iterable[Sequence[float | str | None]] | Iterable[Mapping[str, float | str | None]] | Any"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as they are sent; `index` is that of the DataFrame they come from."""

    request: pb.PredictRequest
    column_count: int
    index: Any = None


def is_frame(rows: object) -> bool:
    """Whether `rows` is a DataFrame."""
    return hasattr(rows, "columns") and hasattr(rows, "to_numpy")


def is_table(rows: object) -> bool:
    """Whether `rows` is a DataFrame or an array, which have columns of one length by nature."""
    return is_frame(rows) or (hasattr(rows, "dtype") and hasattr(rows, "tobytes"))


def encode(rows: Rows, feature_names: Sequence[str] = (), *, first_row: int = 0) -> Encoded:
    """Return the request for `rows`. Raises `InvalidRequestError` for what cannot be sent.

    `first_row` is the number that the first of them has for the caller.
    """
    try:
        return _encode(rows, feature_names)
    except InvalidRequestError as error:
        if not first_row:
            raise
        raise InvalidRequestError.of([found.moved(first_row) for found in error.violations]) from None


def _encode(rows: Rows, feature_names: Sequence[str]) -> Encoded:
    if is_frame(rows):
        return _frame(rows, feature_names)
    if is_table(rows):
        return _array(rows, feature_names)
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        found = f"found {quoted(rows)}, expected rows; one row is a list in a list, such as [[5.1, 3.5]]"
        raise _refusal("rows", found)
    listed = list(rows)
    if listed and isinstance(listed[0], Mapping):
        return _mappings(listed, feature_names)
    return _sequences(listed, feature_names)


def _frame(frame: Any, feature_names: Sequence[str]) -> Encoded:  # noqa: ANN401  # a DataFrame, see above
    columns = list(frame.columns)
    named = sum(isinstance(column, str) for column in columns)
    if named not in (0, len(columns)):
        found = (
            f"found {quoted(columns)}, expected text in each, or numbers in each for the model's own order"
        )
        raise _refusal("columns", found)
    if named and feature_names:
        raise _refusal(
            "feature_names", "found them beside a DataFrame, whose columns have names of their own"
        )
    names = columns if named else feature_names
    kinds = {getattr(dtype, "kind", "") for dtype in frame.dtypes}
    # A missing value of a nullable column becomes NaN: whether the model takes it is the server's to say.
    numeric = "" not in kinds and kinds <= set("biuf")
    numbers = (
        frame.to_numpy(dtype="float64", na_value=float("nan")) if numeric else frame.to_numpy(dtype="object")
    )
    request = pb.PredictRequest(feature_names=names)
    if not numeric and has_texts(numbers.flat):
        request.rows.extend(row_of(row, index) for index, row in enumerate(numbers.tolist()))
    else:
        fill_tensor(request.tensor, numbers, names)
    return Encoded(request, len(columns), getattr(frame, "index", None))


def _array(array: Any, feature_names: Sequence[str]) -> Encoded:  # noqa: ANN401  # an array, see above
    if array.ndim != 2:
        found = f"found an array of {array.ndim} dimensions, expected 2; one row is array.reshape(1, -1)"
        raise _refusal("rows", found)
    request = pb.PredictRequest(feature_names=feature_names)
    if array.dtype.kind in "OUT" and has_texts(array.flat):
        request.rows.extend(row_of(row, index) for index, row in enumerate(array.tolist()))
    else:
        fill_tensor(request.tensor, array, feature_names)
    return Encoded(request, array.shape[1])


def _mappings(rows: list[Any], feature_names: Sequence[str]) -> Encoded:
    if feature_names:
        raise _refusal("feature_names", "found them beside rows that are mappings, which have their own")
    names = list(rows[0])
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _refusal(f"rows[{index}]", "found no mapping, expected one as before", row=index)
        if row.keys() != rows[0].keys():
            raise _refusal(f"rows[{index}]", _other_names(row, names), row=index)
    if not all(isinstance(name, str) for name in names):
        raise _refusal("rows[0]", f"found the names {quoted(names)}, expected text", row=0)
    return _sequences([[row[name] for name in names] for row in rows], names)


def _sequences(rows: list[Any], names: Sequence[str]) -> Encoded:
    # An iterator can be read only once.
    rows = [tuple(row) if hasattr(row, "__next__") else row for row in rows]
    try:
        # iter: to protobuf None would be an empty row, and a text a row of characters.
        messages = [pb.Row(values=iter(row)) for row in rows]
    except (TypeError, ValueError, OverflowError):  # protobuf checks faster than we could, and says less
        messages = [_cells(row, index) for index, row in enumerate(rows)]
    lengths = [len(message.values) or len(message.cells.values) for message in messages]
    for index, length in enumerate(lengths):
        if length != lengths[0]:
            found = f"found {length} values, expected {lengths[0]} as before"
            raise _refusal(f"rows[{index}]", found, row=index)
    return Encoded(pb.PredictRequest(feature_names=names, rows=messages), lengths[0] if lengths else 0)


def _cells(row: Any, index: int) -> pb.Row:  # noqa: ANN401  # whatever a caller takes for a row
    if isinstance(row, str | bytes | Mapping) or not isinstance(row, Iterable):
        found = f"found {quoted(row)}, expected a sequence of cells"
        hint = "; one row is a list in a list, such as [[5.1, 3.5]]" if index == 0 else ""
        raise _refusal(f"rows[{index}]", found + hint, row=index)
    return row_of(row, index)


def _other_names(row: Mapping[Any, Any], names: Sequence[Any]) -> str:
    missing = [name for name in names if name not in row]
    extra = [name for name in row if name not in names]
    told = [f"{word} {quoted(found)}" for word, found in (("misses", missing), ("adds", extra)) if found]
    return f"{' and '.join(told)}, expected the same names in each row"


def _refusal(
    field: str, description: str, *, row: int | None = None, column: int | None = None
) -> InvalidRequestError:
    return InvalidRequestError.of([Violation(field, description, row, column)])
