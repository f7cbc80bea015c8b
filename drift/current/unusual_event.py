"""Events that are not quite as the inference service writes them, and why lines without one do not count."""

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from drift.current.event_filter import EventFilter, SkipReason
from drift.current.wrapped_line import BrokenEvent, NotJson, WrappedEvent, unwrap
from drift.rows import Schema, as_number

__all__ = ["UnusualEvent", "read_unusual"]

#: What JSON has for numbers; a bool is an int to Python and to nobody else.
_NUMBERS: Final = (int, float)


class UnusualEvent(NamedTuple):
    """An event in the form that the others have, but for its labels."""

    event_id: str
    features: list[tuple[float | str | None, ...]]
    predictions: list[Any]
    probabilities: list[list[float]]
    part: int
    timestamp: float | None


class _Skip(Exception):  # noqa: N818 - not an error: the way out of reading with a reason
    def __init__(self, reason: SkipReason) -> None:
        self.reason = reason


def read_unusual(
    line: bytes | str, schema: Schema, event_filter: EventFilter
) -> UnusualEvent | SkipReason | None:
    """Return the event of a line, or why it is skipped, or None for a normal log line. Raises nothing."""
    try:
        found = unwrap(line)
        return None if found is None else _read(found, schema, event_filter)
    except (NotJson, RecursionError):
        return SkipReason.NOT_JSON
    except BrokenEvent:
        return SkipReason.MALFORMED_EVENT
    except _Skip as skip:
        return skip.reason


def _read(found: WrappedEvent, schema: Schema, event_filter: EventFilter) -> UnusualEvent | SkipReason:
    event = found.event
    refusal = event_filter.refusal(
        event.get("track"), event.get("model"), event.get("version"), event.get("shadow")
    )
    if refusal is not None:
        return refusal
    event_id, part = event.get("event_id"), event.get("part")
    part = 0 if part is None else part
    if not isinstance(event_id, str) or not event_id or type(part) is not int:
        return SkipReason.MALFORMED_EVENT
    features = _features(_listed(event.get("features")), schema)
    predictions = _listed(event.get("predictions"))
    if not isinstance(predictions, list) or len(predictions) != len(features):
        return SkipReason.MALFORMED_EVENT
    try:
        outputs = predictions if schema.kind == "label" else schema.predictions(predictions).tolist()
    except (ValueError, OverflowError):
        return SkipReason.MALFORMED_EVENT
    if not all(isinstance(output, (str, *_NUMBERS)) for output in outputs):
        return SkipReason.MALFORMED_EVENT
    probabilities = _probabilities(_listed(event.get("probabilities")))
    return UnusualEvent(event_id, features, outputs, probabilities, part, found.timestamp)


def _listed(value: object) -> object:
    """Undo what some collectors do to lists: write them as text."""
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def _features(rows: object, schema: Schema) -> list[tuple[float | str | None, ...]]:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise _Skip(SkipReason.MALFORMED_EVENT)
    if any(len(row) != len(schema.feature_names) for row in rows):
        raise _Skip(SkipReason.WRONG_FEATURE_COUNT)
    texts = schema.categories or ((),) * len(schema.feature_names)
    try:
        return [
            tuple(_cell(cell, bool(known)) for cell, known in zip(row, texts, strict=True)) for row in rows
        ]
    except (ValueError, OverflowError):
        raise _Skip(SkipReason.MALFORMED_EVENT) from None


def _cell(cell: object, is_text: bool) -> float | str | None:
    if cell is None:
        return None
    if not is_text:
        # The reference has numbers only, so a text here is a category such as "1" and "2".
        return as_number(cell)
    if not isinstance(cell, str):
        raise ValueError("a number where the reference has texts")
    return cell


def _probabilities(rows: object) -> list[list[float]]:
    """Return what can be used of the probabilities: a row without leaves an empty list."""
    if not isinstance(rows, list):
        return []
    return [list(_numbers(row)) for row in rows]


def _numbers(row: object) -> Iterable[float]:
    if not isinstance(row, list) or not all(type(value) in _NUMBERS for value in row):
        return ()
    return (float(value) for value in row if math.isfinite(value))
