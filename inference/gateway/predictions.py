"""`Predict` in JSON: a request's text to a call of the data plane, and the answer to a reply's content."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from inference.core import Answer, PredictCall
from inference.errors import InvalidRequestError, Violation
from inference.rows import MAX_VIOLATIONS, Decoded, decode_rows, quoted

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
    """Rows as lists of numbers; with `keys`, the rows were objects with these keys."""

    def __init__(self, rows: Sequence[Sequence[object]], keys: Sequence[str] = ()) -> None:
        self._rows = rows
        self._keys = keys

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def decode(self, column_count: int) -> Decoded:
        return decode_rows(self._rows, column_count, self.place, typed=False)

    def place(self, row: int, column: int) -> str:
        return (
            f"rows[{row}].{self._keys[column][:_MAX_KEY]}" if self._keys else f"rows[{row}].values[{column}]"
        )


def call_of(body: bytes, request_id: str, *, shadow: bool) -> PredictCall:
    """Return what the JSON text `body` asks. Raises `InvalidRequestError`."""
    fields = _fields_of(body)
    block, keys = _block_of(fields["rows"])
    names = _texts(fields.get("feature_names", []), "feature_names")
    if keys and names:
        raise _invalid("feature_names", "found names, but the rows are objects that name their features")
    return PredictCall(
        block,
        tuple(keys or names),
        _text(fields.get("model_name", ""), "model_name"),
        _text(fields.get("model_version", ""), "model_version"),
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
    predictions: list[dict[str, object]] = [
        {"label": classes[index], "class_index": index} for index in outputs.class_index.tolist()
    ]
    if outputs.probabilities is not None:
        # Float32 arrays, which orjson writes as 0.97 where Python floats would be 0.9700000286102295.
        for prediction, shares in zip(predictions, np.ascontiguousarray(outputs.probabilities), strict=True):
            prediction["probabilities"] = shares
    return predictions


def _fields_of(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid("body", f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _invalid("body", f"found {quoted(content)}, expected an object with rows")
    fields: dict[str, Any] = {_CAMEL_CASE.get(key) or key: value for key, value in content.items()}
    unknown = [key for key in fields if key not in _KNOWN]
    if unknown:
        expected = f"unknown field; expected {', '.join(_KNOWN)}"
        raise InvalidRequestError([Violation(key[:_MAX_KEY], expected) for key in unknown[:MAX_VIOLATIONS]])
    if not isinstance(fields.get("rows"), list):
        raise _invalid("rows", f"found {quoted(fields.get('rows'))}, expected a list of rows")
    return fields


def _block_of(rows: list[Any]) -> tuple[_JsonRows, tuple[str, ...]]:
    kinds = set(map(type, rows))
    if kinds <= {list}:
        return _JsonRows(rows), ()
    if kinds != {dict}:
        raise _invalid("rows", "expected lists of numbers, or objects, the same for all rows")
    first = rows[0].keys()
    wrong = [
        Violation(f"rows[{index}]", f"names other features than rows[0]: {_difference(row, first)}")
        for index, row in enumerate(rows)
        if row.keys() != first
    ]
    if wrong:
        raise InvalidRequestError(wrong[:MAX_VIOLATIONS])
    if first == {"values"}:
        return _JsonRows([_list(row["values"], f"rows[{i}].values") for i, row in enumerate(rows)]), ()
    keys = tuple(first)
    return _JsonRows([[row[key] for key in keys] for row in rows], keys), keys


def _difference(row: Mapping[str, object], first: Any) -> str:  # noqa: ANN401  # a view of keys
    missing, more = sorted(first - row.keys()), sorted(row.keys() - first)
    parts = [f"misses {', '.join(missing)[:_MAX_KEY]}"] if missing else []
    return " and ".join([*parts, f"has {', '.join(more)[:_MAX_KEY]}"] if more else parts)


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise _invalid(place, f"found {quoted(value)}, expected a list of numbers")
    return value


def _texts(value: object, place: str) -> list[str]:
    return [_text(name, f"{place}[{index}]") for index, name in enumerate(_list(value, place))]


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _invalid(place, f"found {quoted(value)}, expected text")
    return value


def _invalid(place: str, description: str) -> InvalidRequestError:
    return InvalidRequestError([Violation(place, description)])
