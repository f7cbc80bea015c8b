"""One line of a prediction log, read as the contract says (`protos/inference/v1/event.proto`).

Two forms carry an event: a log line of the logger `drift-monitoring` whose `message` is the event as a JSON
string, and the event itself as a bare object. Any other JSON object is a normal log line of the service.
"""

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import orjson

from drift.rows import Features, Predictions, Schema, as_number

__all__ = ["EVENT_LOGGER", "PredictedRows", "SkipReason", "parse_line"]

EVENT_LOGGER: Final = "drift-monitoring"

#: What a feature may be in JSON; null stands for a missing one.
_NUMBERS: Final = frozenset({int, float, type(None)})
_TEXTS: Final = frozenset({str, type(None)})


class SkipReason(enum.StrEnum):
    """Why a line was not counted; the values of the label `reason`."""

    NOT_JSON = "not_json"
    MALFORMED_EVENT = "malformed_event"
    WRONG_FEATURE_COUNT = "wrong_feature_count"
    DUPLICATE = "duplicate"
    SHADOW = "shadow"
    OTHER_TRACK = "other_track"
    OUTSIDE_WINDOW = "outside_window"


@dataclass(frozen=True, slots=True)
class PredictedRows:
    """The rows of one event. `timestamp` is in seconds since 1970, None when the line has none."""

    event_id: str
    part: int
    timestamp: float | None
    features: Features
    predictions: Predictions


class _Skip(Exception):  # noqa: N818 - not an error: the way out of parsing with a reason
    def __init__(self, reason: SkipReason) -> None:
        self.reason = reason


def parse_line(line: bytes, schema: Schema, track: str | None) -> PredictedRows | SkipReason | None:
    """Read one line: rows, or why they are skipped, or None for a normal log line. Raises nothing."""
    try:
        record = orjson.loads(line)
        if not isinstance(record, dict):
            return SkipReason.NOT_JSON
        event = _find_event(record)
        return None if event is None else _read_event(event, record.get("timestamp"), schema, track)
    except orjson.JSONDecodeError:
        return SkipReason.NOT_JSON
    except _Skip as skip:
        return skip.reason


def _find_event(record: dict[str, Any]) -> dict[str, Any] | None:
    event: object = record
    if record.get("logger") == EVENT_LOGGER:
        message = record.get("message")
        if not isinstance(message, str) or not message.lstrip().startswith("{"):
            return None
        try:
            event = orjson.loads(message)
        except ValueError:  # not JSON, or (lone surrogates) not even UTF-8
            raise _Skip(SkipReason.MALFORMED_EVENT) from None
    elif "event_id" not in record:
        return None
    if not isinstance(event, dict) or event.get("event") != "prediction":
        return None
    return event


def _read_event(event: dict[str, Any], timestamp: object, schema: Schema, track: str | None) -> PredictedRows:
    if event.get("shadow") is True:
        raise _Skip(SkipReason.SHADOW)
    if track is not None and event.get("track") != track:
        raise _Skip(SkipReason.OTHER_TRACK)
    event_id, part = event.get("event_id"), event.get("part", 0)
    if not isinstance(event_id, str) or not event_id or not isinstance(part, int):
        raise _Skip(SkipReason.MALFORMED_EVENT)
    features = _read_features(event.get("features"), schema)
    predictions = event.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != len(features):
        raise _Skip(SkipReason.MALFORMED_EVENT)
    try:
        values = schema.predictions(predictions)
    except (ValueError, OverflowError):
        raise _Skip(SkipReason.MALFORMED_EVENT) from None
    return PredictedRows(event_id, part, _read_timestamp(timestamp), features, values)


def _read_features(rows: object, schema: Schema) -> Features:
    width = len(schema.feature_names)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise _Skip(SkipReason.MALFORMED_EVENT)
    if any(len(row) != width for row in rows):
        raise _Skip(SkipReason.WRONG_FEATURE_COUNT)
    if {type(value) for row in rows for value in row} <= _NUMBERS and not schema.category_places:
        try:
            return np.array(rows, dtype=np.float64)  # null becomes NaN
        except OverflowError:
            raise _Skip(SkipReason.MALFORMED_EVENT) from None
    columns = [_read_column(place, cells, schema) for place, cells in enumerate(zip(*rows, strict=True))]
    return np.stack(columns, axis=1)


def _read_column(place: int, cells: tuple[Any, ...], schema: Schema) -> Features:
    """Read one feature of an event that has texts, or of a model that does."""
    types = {type(cell) for cell in cells}
    if schema.categories and schema.categories[place]:
        if types <= _TEXTS:
            return schema.codes(place, cells)
    elif types <= _NUMBERS | _TEXTS:
        try:
            # The reference has numbers only, so these are categories such as "1" and "2".
            return np.array([math.nan if cell is None else as_number(cell) for cell in cells], np.float64)
        except (ValueError, OverflowError):
            pass
    raise _Skip(SkipReason.MALFORMED_EVENT)


def _read_timestamp(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
