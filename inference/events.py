"""Prediction events: what the server says about each answered request, for drift and rollout to read.

A request pays for one append to a bounded queue. The thread of `LineWriter` calls `_Event.encode` later.
"""

import functools
import math
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from inference.artifacts import Outputs
from inference.lines import LineWriter
from inference.metrics import Metrics

if TYPE_CHECKING:
    from inference.generation import Generation

__all__ = ["MAX_LINE_BYTES", "EventLog", "PredictionRecord"]

#: Container runtimes cut lines at 16 KiB, and a line that is cut is lost; 12 leaves room for their own frame.
MAX_LINE_BYTES: Final = 12 * 1024
#: Rows that are tried as one line before their size is estimated.
_ROWS_TRIED: Final = 256
#: Rows that the estimate is made of.
_ROWS_SAMPLED: Final = 16

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class PredictionRecord(NamedTuple):
    """One answered request."""

    #: Seconds since the epoch.
    answered_at: float
    event_id: str
    correlation_id: str
    generation: "Generation"
    features: NDArray[np.float32]
    outputs: Outputs
    shadow: bool


class EventLog:
    """Samples records and hands them to the writer."""

    def __init__(self, writer: LineWriter, metrics: Metrics, *, track: str, sample_rate: float) -> None:
        self._writer = writer
        self._sample_rate = sample_rate
        self.track: Final = track
        self.outcomes: Final = metrics.events
        self._said_too_wide = False

    def append(self, record: PredictionRecord) -> None:
        """Log `record` later, or count why not; never waits."""
        if self._sample_rate < 1 and random.random() >= self._sample_rate:
            self.outcomes["sampled_out"].inc()
        elif not self._writer.offer(_Event(record, self)):
            self.outcomes["dropped"].inc()

    def say_too_wide(self, record: PredictionRecord) -> None:
        """Log once that rows of this model do not fit a line."""
        if not self._said_too_wide:
            self._said_too_wide = True
            _log.warning(
                "prediction events lost: one row needs a longer line than log collectors keep",
                features=record.features.shape[1],
                limit_bytes=MAX_LINE_BYTES,
            )


class _Event:
    """A record in the writer's queue."""

    __slots__ = ("_log", "_record", "numbers")

    def __init__(self, record: PredictionRecord, log: EventLog) -> None:
        self._record = record
        self._log = log
        self.numbers = record.features.size * 2  # features, and about as many outputs again

    def settle(self, *, written: bool) -> None:
        self._log.outcomes["written" if written else "failed"].inc()

    def encode(self) -> bytes:
        try:
            return b"".join(_lines(self._record, self._log.track))
        except ValueError:
            self._log.say_too_wide(self._record)
            raise


def _lines(record: PredictionRecord, track: str) -> list[bytes]:
    rows = len(record.features)
    if rows <= _ROWS_TRIED:
        line = _line(record, track, slice(None))
        if len(line) <= MAX_LINE_BYTES:
            return [line]
    sample = _line(record, track, slice(0, _ROWS_SAMPLED), part=rows, parts=rows)
    part_rows = max(1, int(MAX_LINE_BYTES * 0.9 * min(rows, _ROWS_SAMPLED) / len(sample)))
    while True:
        parts = math.ceil(rows / part_rows)
        lines = [
            _line(record, track, slice(part * part_rows, (part + 1) * part_rows), part=part, parts=parts)
            for part in range(parts)
        ]
        if max(map(len, lines)) <= MAX_LINE_BYTES:
            return lines
        if part_rows == 1:
            raise ValueError("one row does not fit a line")
        part_rows //= 2


def _line(
    record: PredictionRecord, track: str, rows: slice, *, part: int | None = None, parts: int | None = None
) -> bytes:
    generation = record.generation
    predictions, probabilities = _outputs(record, rows)
    event: dict[str, object] = {
        "event": "prediction",
        "event_id": record.event_id,
        "features": _features(record, rows),
        "predictions": predictions,
        "probabilities": probabilities,
        "model": generation.name,
        "version": generation.version,
        "digest": generation.digest,
        "track": track,
    }
    if part is not None:
        event.update(part=part, parts=parts)
    if record.shadow:
        event["shadow"] = True
    line = {
        "timestamp": _timestamp(record.answered_at),
        "level": "INFO",
        "logger": "drift-monitoring",
        "correlation_id": record.correlation_id,
        "message": orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _timestamp(seconds: float) -> str:
    # As the other log lines write it.
    whole = math.floor(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1_000_000):06d}Z"


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _features(record: PredictionRecord, rows: slice) -> object:
    features, kinds = record.features[rows], record.generation.signature.kinds
    if not any(kind.is_category for kind in kinds):
        return features  # nan is null
    columns = [
        [*map(kind.text_of, column.tolist())] if kind.is_category else column
        for kind, column in zip(kinds, features.T, strict=True)
    ]
    return [*zip(*columns, strict=True)]


def _outputs(record: PredictionRecord, rows: slice) -> tuple[object, object]:
    outputs, classes = record.outputs, record.generation.classes
    if outputs.class_index is None:
        assert outputs.values is not None
        return np.ascontiguousarray(outputs.values[rows]), []
    assert outputs.probabilities is not None
    labels = [classes[index] for index in outputs.class_index[rows].tolist()]
    return labels, np.ascontiguousarray(outputs.probabilities[rows])
