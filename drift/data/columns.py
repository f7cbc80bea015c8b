"""Columns of Arrow, of whatever type, as the numbers, codes and texts that rows are made of."""

import math
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from drift.data.arrow_values import float_values, int_values, text_array
from drift.data.csv_file import MISSING
from drift.rows import Schema

__all__ = ["NotANumberError", "is_readable", "kind_of", "to_codes", "to_numbers", "to_texts"]

#: Truth as Python, databases and spreadsheets write it: a feature of 0 and 1.
_TRUTH: Final = {"True": 1.0, "true": 1.0, "TRUE": 1.0, "False": 0.0, "false": 0.0, "FALSE": 0.0}
_MISSING = text_array(MISSING)
_NOTHING = text_array([""])[0]


class NotANumberError(ValueError):
    """A text that is no number, in row `row` (from 0) of a part of a column."""

    def __init__(self, column: str, row: int, text: str) -> None:
        self.column, self.row, self.text = column, row, text
        super().__init__(f"could not convert string to float: {text!r}")


def is_readable(kind: pa.DataType) -> bool:
    """Return whether values of this type of Arrow are numbers, texts or truth values."""
    types = pa.types
    if types.is_dictionary(kind):
        return is_readable(kind.value_type)
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
        or _is_text(kind)
    )


def to_numbers(column: pa.Array, name: str) -> NDArray[np.float64]:
    """Return the numbers of the column `name`, NaN for missing ones. Raises `NotANumberError`."""
    column = _decoded(column)
    if _is_text(column.type):
        return _parse(column, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return float_values(column.cast(pa.float64(), safe=False))


def to_texts(column: pa.Array) -> pa.Array:
    """Return the values of a column as Python writes them, whole numbers without a point, nothing if missing."""
    column = _decoded(column)
    if not _is_text(column.type):
        return text_array([_text(value) for value in column.to_pylist()])
    return column.cast(pa.string()).fill_null(_NOTHING)


def to_codes(column: pa.Array, schema: Schema, place: int) -> NDArray[np.float64]:
    """Return the codes of a feature of texts, NaN for missing ones."""
    encoded = to_texts(column).dictionary_encode()
    codes = schema.codes(place, [text or None for text in encoded.dictionary.to_pylist()])
    return codes[int_values(encoded.indices)]


def kind_of(text: str) -> Literal["missing", "number", "truth", "text"]:
    """Return what a text of a feature is. Truth may stand in a column of numbers that has nothing else."""
    if text in MISSING:
        return "missing"
    try:
        _number(text)
    except ValueError:
        return "text"
    return "truth" if text in _TRUTH else "number"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _decoded(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _parse(column: pa.Array, name: str) -> NDArray[np.float64]:
    column = column.cast(pa.string())
    known = pc.if_else(pc.is_in(column, _MISSING), pa.nulls(1, pa.string())[0], column)
    try:
        return float_values(known.cast(pa.float64()))
    except pa.ArrowInvalid:
        return _parse_distinct(known, name)


def _parse_distinct(column: pa.Array, name: str) -> NDArray[np.float64]:
    """Parse each different text once, as Python reads it, which knows more than Arrow."""
    encoded = column.fill_null(_NOTHING).dictionary_encode()
    numbers = np.empty(len(encoded.dictionary))
    for place, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            numbers[place] = _number(text)
        except ValueError:
            row = int(np.argmax(int_values(encoded.indices) == place))
            raise NotANumberError(name, row, text) from None
    return numbers[int_values(encoded.indices)]


def _number(text: str) -> float:
    if text in MISSING:
        return math.nan
    if text in _TRUTH:
        return _TRUTH[text]
    if "_" in text:  # Python's own way to write 1_000
        raise ValueError(text)
    return float(text)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return "" if value is None else str(value)
