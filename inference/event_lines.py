"""A prediction event as lines of JSON.

A line is a log line whose message is the event, as JSON inside of JSON. Most of it is the same for all events of one
model, so that is written and escaped once (`_Frame`); only numbers and ids are written for each event.
"""

import functools
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from inference.artifacts import Outputs
from inference.signature import Signature

if TYPE_CHECKING:
    from inference.events import PredictionRecord

__all__ = ["MAX_LINE_BYTES", "lines_of"]

#: Container runtimes cut lines at 16 KiB, and a line that is cut is lost; 12 leaves room for their own frame.
MAX_LINE_BYTES: Final = 12 * 1024
#: Rows that are tried as one line before their size is estimated.
_ROWS_TRIED: Final = 256
#: Rows that the estimate is made of.
_ROWS_SAMPLED: Final = 16
#: How many frames are kept; models serve by the handful, and each frame has a few hundred bytes.
_FRAMES: Final = 64
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def lines_of(record: "PredictionRecord", track: str) -> bytes:
    """Return `record` as one line, or as few as its length allows. Raises `ValueError` when a row does not fit."""
    rows = len(record.features)
    if rows <= _ROWS_TRIED:
        line = _line(record, track)
        if len(line) <= MAX_LINE_BYTES:
            return line
    sample = _line(_some(record, slice(0, _ROWS_SAMPLED)), track, _part(rows, rows))
    part_rows = max(1, int(MAX_LINE_BYTES * 0.9 * min(rows, _ROWS_SAMPLED) / len(sample)))
    while True:
        parts = math.ceil(rows / part_rows)
        lines = [
            _line(_some(record, slice(part * part_rows, (part + 1) * part_rows)), track, _part(part, parts))
            for part in range(parts)
        ]
        if max(map(len, lines)) <= MAX_LINE_BYTES:
            return b"".join(lines)
        if part_rows == 1:
            raise ValueError("one row does not fit a line")
        part_rows //= 2


def _some(record: "PredictionRecord", rows: slice) -> "PredictionRecord":
    class_index, probabilities, values = record.outputs
    outputs = Outputs(
        None if class_index is None else class_index[rows],
        None if probabilities is None else probabilities[rows],
        None if values is None else values[rows],
    )
    return record._replace(features=record.features[rows], outputs=outputs)


def _part(part: int, parts: int) -> bytes:
    return rb",\"part\":%d,\"parts\":%d" % (part, parts)


def _line(record: "PredictionRecord", track: str, part: bytes = b"") -> bytes:
    answered_at, event_id, correlation_id, generation, features, outputs, shadow = record
    frame = _frame_of(generation.name, generation.version, generation.digest, track, generation.classes)
    pieces = (
        b'{"timestamp":"',
        _timestamp(answered_at),
        b'","level":"INFO","logger":"drift-monitoring","correlation_id":',
        orjson.dumps(correlation_id),
        rb',"message":"{\"event\":\"prediction\",\"event_id\":',
        _inside(orjson.dumps(event_id)),
        rb",\"features\":",
        _features(features, generation.signature),
        *_predictions(outputs, frame),
        frame.model,
        part,
        rb",\"shadow\":true" if shadow else b"",
        b'}"}\n',
    )
    return b"".join(pieces)


class _Frame(NamedTuple):
    """What is the same in all events of one model, as it stands inside of the message."""

    #: By class.
    labels: tuple[bytes, ...]
    #: What is said of the model.
    model: bytes


@functools.lru_cache(_FRAMES)
def _frame_of(name: str, version: str, digest: str, track: str, classes: tuple[str, ...]) -> _Frame:
    said = orjson.dumps({"model": name, "version": version, "digest": digest, "track": track})
    return _Frame(tuple(_inside(orjson.dumps(label)) for label in classes), b"," + _inside(said[1:-1]))


def _inside(json: bytes) -> bytes:
    """Return JSON as it stands inside of a text of JSON."""
    return orjson.dumps(json.decode())[1:-1]


def _timestamp(seconds: float) -> bytes:
    # As the other log lines write it.
    whole = math.floor(seconds)
    return b"%b.%06dZ" % (_second(whole), int((seconds - whole) * 1_000_000))


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _features(features: NDArray[np.float32], signature: Signature) -> bytes:
    if signature.is_plain or not any(kind.is_category for kind in signature.kinds):
        return _numbers(features)  # nan is null
    columns = [
        [*map(kind.text_of, column.tolist())] if kind.is_category else column
        for kind, column in zip(signature.kinds, features.T, strict=True)
    ]
    return _inside(orjson.dumps([*zip(*columns, strict=True)], option=_NUMPY))


def _predictions(outputs: Outputs, frame: _Frame) -> tuple[bytes, ...]:
    class_index, probabilities, values = outputs
    if class_index is None:
        assert values is not None
        return rb",\"predictions\":", _numbers(values), rb",\"probabilities\":[]"
    assert probabilities is not None
    labels = b",".join(map(frame.labels.__getitem__, class_index.tolist()))
    return rb",\"predictions\":[", labels, rb"],\"probabilities\":", _numbers(probabilities)


def _numbers(array: NDArray[np.floating]) -> bytes:
    return orjson.dumps(np.ascontiguousarray(array), option=_NUMPY)
