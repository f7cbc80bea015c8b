"""One line of a prediction log, read as the contract says (`protos/inference/v1/event.proto`).

Nearly all lines are as the inference service writes them, and are read by two typed decoders whose types are the
checks: number and kind of the features too. Whatever these refuse is read again by `unusual_event`, with
patience: it finds events in wrappings, in other forms of the same values, or the reason why a line does not count.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from drift.current.event_filter import EventFilter, SkipReason
from drift.current.long_label import MAX_LABEL_CHARACTERS, shorten
from drift.current.unusual_event import read_unusual
from drift.current.wrapped_line import EVENT_LOGGER
from drift.rows import Schema

__all__ = ["EventFilter", "EventReader", "PredictionEvent", "SkipReason"]

#: Labels remembered in their one form; a model with more classes is read a little slower.
_REMEMBERED_LABELS: Final = 10_000

_Row = TypeVar("_Row")
_Output = TypeVar("_Output")


class _Line(msgspec.Struct, gc=False):
    """A log line, as far as it matters here."""

    logger: str = ""
    message: str = ""
    timestamp: datetime | None = None


class PredictionEvent(msgspec.Struct, Generic[_Row, _Output], gc=False):
    """One event: `features` has a tuple for each row, `predictions` a label in its one form, or a number.

    `timestamp` is in seconds since 1970, None when the line has none.
    """

    event: str
    event_id: str
    features: list[_Row]
    predictions: list[_Output]
    probabilities: list[list[float]] = []
    model: str | None = None
    version: str | None = None
    track: str | None = None
    part: int | None = None
    shadow: bool = False
    timestamp: float | None = None


class EventReader:
    """Reads lines of events whose rows have the shape of `schema`; `labels` are those that stay whole if long."""

    def __init__(self, schema: Schema, event_filter: EventFilter, labels: Iterable[object] = ()) -> None:
        self._schema, self._filter = schema, event_filter
        texts = schema.categories or ((),) * len(schema.feature_names)
        row: Any = tuple[tuple[Any, ...](str | None if known else float | None for known in texts)]  # type: ignore[misc]
        output: Any = float if schema.kind == "number" else str | int | float
        self._decode_line = msgspec.json.Decoder(_Line).decode
        self._decode_event = msgspec.json.Decoder(PredictionEvent[row, output]).decode
        self._selective = event_filter != EventFilter()
        self._labels: dict[object, str] = {}
        self._whole = frozenset(
            label for label in labels if isinstance(label, str) and len(label) > MAX_LABEL_CHARACTERS
        )

    def read(self, line: bytes | str) -> PredictionEvent[Any, Any] | SkipReason | None:
        """Return the event, or why it is skipped, or None for a normal log line. Raises nothing."""
        try:
            record = self._decode_line(line)
            event = self._decode_event(record.message)
        except (ValueError, RecursionError):
            return self._read_unusual(line)
        rows = len(event.features)
        whole = rows and rows == len(event.predictions) and event.event_id
        if not whole or event.event != "prediction" or record.logger != EVENT_LOGGER:
            return self._read_unusual(line)
        if event.shadow or self._selective:
            refusal = self._filter.refusal(event.track, event.model, event.version, event.shadow)
            if refusal is not None:
                return refusal
        moment = record.timestamp
        if moment is None:
            event.timestamp = None
        else:
            event.timestamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return self._with_labels(event)

    def _read_unusual(self, line: bytes | str) -> PredictionEvent[Any, Any] | SkipReason | None:
        found = read_unusual(line, self._schema, self._filter)
        if found is None or isinstance(found, SkipReason):
            return found
        return self._with_labels(PredictionEvent(event="prediction", **found._asdict()))

    def _with_labels(self, event: PredictionEvent[Any, Any]) -> PredictionEvent[Any, Any] | SkipReason:
        """Bring the predictions into the form that equal labels share."""
        if self._schema.kind == "number":
            return event
        known = self._labels
        try:
            event.predictions = [known[value] for value in event.predictions]
        except KeyError:
            try:
                found = self._schema.predictions(event.predictions).tolist()
            except ValueError:
                return SkipReason.MALFORMED_EVENT
            labels = [shorten(label, self._whole) for label in found]
            if len(known) < _REMEMBERED_LABELS:
                pairs = zip(event.predictions, labels, strict=True)
                # Texts only: to a dict 1 and 1.0 are the same, and their texts may not be. And short ones only.
                known.update(
                    (value, label)
                    for value, label in pairs
                    if isinstance(value, str) and len(value) <= MAX_LABEL_CHARACTERS
                )
            event.predictions = labels
        return event
