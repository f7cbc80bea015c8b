"""`Predict` in JSON: a request's text to a call of the data plane, and the answer to a reply's content."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from inference.cells import decode_cells
from inference.core import Answer, PredictCall, check_row_count
from inference.errors import InvalidRequestError, Violation
from inference.gateway.json_fields import UNLIMITED, invalid, json_of, list_of, object_of, text_of
from inference.kinds import Kind
from inference.rows import MAX_VIOLATIONS, Decoded, decode_rows

__all__ = ["call_of", "content_of"]

_KNOWN: Final = ("rows", "feature_names", "model_name", "model_version")
#: The names that protobuf JSON gives to the same fields.
_CAMEL_CASE: Final = {
    "featureNames": "feature_names",
    "modelName": "model_name",
    "modelVersion": "model_version",
}
#: Characters of a caller's own key that an error repeats.
_MAX_KEY: Final = 64


class _JsonRows:
    """Rows as lists of cells; with `keys`, the rows were objects with these keys."""

    def __init__(self, rows: Sequence[Sequence[object]], keys: Sequence[str] = ()) -> None:
        self._rows = rows
        self._keys = keys

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        if kinds:
            return decode_cells(self._rows, kinds, self.place)
        return decode_rows(self._rows, column_count, self.place, typed=False)

    def place(self, row: int, column: int) -> str:
        return (
            f"rows[{row}].{self._keys[column][:_MAX_KEY]}" if self._keys else f"rows[{row}].values[{column}]"
        )


class _Cells(_JsonRows):
    """Rows in the form of the message, by its field `cells`."""

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].cells[{column}]"


class _Values(_JsonRows):
    """Rows in the form of the message, by its field `values`: numbers alone, of a category its code."""

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:  # noqa: ARG002  # only numbers
        return decode_rows(self._rows, column_count, self.place, typed=False)


#: Rows in the form of the message, by the one field that they have.
_FORMS: Final = {"values": _Values, "cells": _Cells}


def call_of(body: bytes, request_id: str, *, shadow: bool, max_rows: int = UNLIMITED) -> PredictCall:
    """Return what the JSON text `body` asks.

    Raises `InvalidRequestError`, and `OverloadError` before anything is made of more than `max_rows` rows.
    """
    fields = _fields_of(body, max_rows)
    check_row_count(len(fields["rows"]), max_rows)
    block, keys = _block_of(fields["rows"])
    names = _texts(fields.get("feature_names", []), "feature_names")
    if keys and names:
        raise invalid("feature_names", "found names, but the rows are objects that name their features")
    return PredictCall(
        block,
        tuple(keys or names),
        text_of(fields.get("model_name", ""), "model_name"),
        text_of(fields.get("model_version", ""), "model_version"),
        request_id,
        shadow,
    )


def content_of(answer: Answer) -> dict[str, object]:
    """Return the protobuf JSON of the `PredictResponse` for `answer`, with the field names of the .proto."""
    generation = answer.generation
    return {
        "predictions": _predictions_of(answer),
        "model_name": generation.name,
        "model_version": generation.version,
        "model_digest": generation.digest,
        "event_id": answer.event_id,
    }


def _predictions_of(answer: Answer) -> list[dict[str, object]]:
    outputs, classes = answer.outputs, answer.generation.classes
    if outputs.class_index is None:
        assert outputs.values is not None
        return [{"value": value} for value in outputs.values.tolist()]
    assert outputs.probabilities is not None
    # Float32 arrays, which orjson writes as 0.97 where Python floats would be 0.9700000286102295.
    shares = np.ascontiguousarray(outputs.probabilities)
    return [
        {"label": classes[index], "class_index": index, "probabilities": row}
        for index, row in zip(outputs.class_index.tolist(), shares, strict=True)
    ]


def _fields_of(body: bytes, max_rows: int) -> dict[str, Any]:
    try:
        content = object_of(json_of(body, objects=max_rows, lists=max_rows), "body", "an object with rows")
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"is not JSON: {error}") from None
    twice = [key for key, name in _CAMEL_CASE.items() if key in content and name in content]
    if twice:
        raise InvalidRequestError(
            [Violation(key, f"found it beside {_CAMEL_CASE[key]}, expected one of them") for key in twice]
        )
    fields: dict[str, Any] = {_CAMEL_CASE.get(key) or key: value for key, value in content.items()}
    unknown = [key for key in fields if key not in _KNOWN]
    if unknown:
        expected = f"unknown field; expected {', '.join(_KNOWN)}"
        raise InvalidRequestError([Violation(key[:_MAX_KEY], expected) for key in unknown[:MAX_VIOLATIONS]])
    list_of(fields.get("rows"), "rows", "a list of rows")
    return fields


def _block_of(rows: list[Any]) -> tuple[_JsonRows, tuple[str, ...]]:
    kinds = set(map(type, rows))
    if kinds <= {list}:
        return _JsonRows(rows), ()
    if kinds != {dict}:
        raise invalid("rows", "expected lists, or objects, the same for all rows")
    first = rows[0].keys()
    if first == _FORMS.keys() and list in map(type, rows[0].values()):  # no features of these names: lists
        both = "found values and cells, expected one of them"
        places = (f"rows[{index}]" for index, row in enumerate(rows) if row.keys() == first)
        raise InvalidRequestError([Violation(place, both) for place in islice(places, MAX_VIOLATIONS)])
    others = (
        Violation(f"rows[{index}]", f"names other features than rows[0]: {_difference(row, first)}")
        for index, row in enumerate(rows)
        if row.keys() != first
    )
    wrong = [*islice(others, MAX_VIOLATIONS)]
    if wrong:
        raise InvalidRequestError(wrong)
    for field, form in _FORMS.items():
        if first == {field}:
            return form([list_of(row[field], f"rows[{index}].{field}") for index, row in enumerate(rows)]), ()
    keys = tuple(first)
    return _JsonRows([[row[key] for key in keys] for row in rows], keys), keys


def _difference(row: Mapping[str, object], first: Any) -> str:  # noqa: ANN401  # a view of keys
    missing, more = sorted(first - row.keys()), sorted(row.keys() - first)
    parts = [f"misses {', '.join(missing)[:_MAX_KEY]}"] if missing else []
    return " and ".join([*parts, f"has {', '.join(more)[:_MAX_KEY]}"] if more else parts)


def _texts(value: object, place: str) -> list[str]:
    return [text_of(name, f"{place}[{index}]") for index, name in enumerate(list_of(value, place))]
