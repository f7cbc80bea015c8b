"""Rows with texts or missing values in them, as the cells of a request."""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import struct_pb2

from inference.client.errors import InvalidRequestError, Violation
from inference.client.tensor import MISSING, quoted
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["has_texts", "row_of"]

_NULL: Final = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)


def has_texts(cells: Iterable[Any]) -> bool:
    """Tell whether one of `cells` is a text."""
    return any(isinstance(cell, str) for cell in cells)


def row_of(cells: Iterable[Any], row: int) -> pb.Row:
    """Return `cells` as a row: numbers, texts, and null for None, nan and what pandas has for them.

    Raises `InvalidRequestError` for everything else; `row` is the number of the row.
    """
    values = [_value(cell, row, column) for column, cell in enumerate(cells)]
    return pb.Row(cells=struct_pb2.ListValue(values=values))


def _value(cell: Any, row: int, column: int) -> struct_pb2.Value:  # noqa: ANN401  # what stands in a table
    if isinstance(cell, str):
        try:
            return struct_pb2.Value(string_value=cell)
        except ValueError:  # half of a surrogate pair is no text that can be encoded
            raise _refused(cell, row, column) from None
    if type(cell).__name__ in MISSING:
        return _NULL
    try:
        if isinstance(cell, bytes | complex):
            raise TypeError
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise _refused(cell, row, column) from None
    return struct_pb2.Value(number_value=number) if number == number else _NULL  # noqa: PLR0124  # nan


def _refused(cell: Any, row: int, column: int) -> InvalidRequestError:  # noqa: ANN401  # as above
    found = f"found {quoted(cell)}, expected a number, a text or None"
    return InvalidRequestError.of([Violation(f"rows[{row}].cells.values[{column}]", found, row, column)])
