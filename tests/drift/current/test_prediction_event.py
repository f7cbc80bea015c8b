"""One line of the prediction log: what counts, what is skipped, and that nothing raises."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson, ParseDict
from hypothesis import example, given
from hypothesis import strategies as st

from drift.current.prediction_event import PredictedRows, SkipReason, parse_line
from drift.rows import Schema
from protos.inference.v1.event_pb2 import PredictionEvent

LABELS = Schema(("feature_0", "feature_1"), "label")
NUMBERS = Schema(("feature_0", "feature_1"), "number")
EVENT = {"event": "prediction", "event_id": "e1", "features": [[1.0, 2.5]], "predictions": ["setosa"]}


def parse(event: Mapping[str, object], schema: Schema = LABELS, track: str | None = None) -> object:
    line = {"timestamp": "2026-11-23T08:00:00Z", "logger": "drift-monitoring", "message": json.dumps(event)}
    return parse_line(json.dumps(line).encode(), schema, track)


def test_an_event_of_the_contract_is_read() -> None:
    """What protobuf writes for a `PredictionEvent` is what we read: rows, labels, part and time."""
    event = ParseDict({**EVENT, "features": [[1, 2.5], [3, 4]], "predictions": ["a", "b"]}, PredictionEvent())
    event.part = 2
    text = MessageToJson(event, preserving_proto_field_name=True, indent=None)
    line = {"timestamp": "2026-11-23T08:00:00.5Z", "logger": "drift-monitoring", "message": text}
    rows = parse_line(json.dumps(line).encode(), LABELS, None)
    assert isinstance(rows, PredictedRows)
    assert (rows.event_id, rows.part) == ("e1", 2)
    assert rows.features.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert rows.predictions.tolist() == ["a", "b"]
    assert rows.timestamp == datetime(2026, 11, 23, 8, 0, 0, 500_000, UTC).timestamp()


def test_a_bare_event_is_read() -> None:
    """An event that is not wrapped in a log line counts too; it has no time."""
    rows = parse_line(json.dumps(EVENT).encode(), LABELS, None)
    assert isinstance(rows, PredictedRows)
    assert rows.timestamp is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shadow": True}, SkipReason.SHADOW),
        ({"features": [[1.0]]}, SkipReason.WRONG_FEATURE_COUNT),
        ({"features": [[1.0, 2.0, 3.0]]}, SkipReason.WRONG_FEATURE_COUNT),
        ({"features": []}, SkipReason.MALFORMED_EVENT),
        ({"features": [["red", 1.0]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [["1_0", 1.0]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [["nan", 1.0]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [[True, 1.0]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [[True, False]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [[[1.0], [2.0]]]}, SkipReason.MALFORMED_EVENT),
        ({"features": [1.0, 2.0]}, SkipReason.MALFORMED_EVENT),
        ({"predictions": []}, SkipReason.MALFORMED_EVENT),
        ({"predictions": [None]}, SkipReason.MALFORMED_EVENT),
        ({"event_id": ""}, SkipReason.MALFORMED_EVENT),
        ({"part": "one"}, SkipReason.MALFORMED_EVENT),
    ],
)
def test_what_cannot_count_is_skipped_with_its_reason(fields: dict[str, object], reason: SkipReason) -> None:
    """Each defect of an event has its own reason, which is the label of the counter."""
    assert parse({**EVENT, **fields}) is reason


@pytest.mark.parametrize(
    "line",
    [
        b'{"logger": "inference", "message": "model loaded", "model": "iris"}',
        b'{"logger": "drift-monitoring", "message": "event queue drained"}',
        b'{"logger": "drift-monitoring", "message": "{\\"event\\": \\"label\\", \\"event_id\\": \\"1\\"}"}',
        b"{}",
    ],
)
def test_other_log_lines_are_normal(line: bytes) -> None:
    """Lines that the service logs besides events, and events of other kinds, are nobody's mistake."""
    assert parse_line(line, LABELS, None) is None


def test_a_broken_message_is_a_malformed_event() -> None:
    """A message cut in the middle was an event, unlike a line that is no JSON at all."""
    line = json.dumps({"logger": "drift-monitoring", "message": '{"event": "prediction", "featu'}).encode()
    assert parse_line(line, LABELS, None) is SkipReason.MALFORMED_EVENT
    assert parse_line(line[:-5], LABELS, None) is SkipReason.NOT_JSON


def test_a_track_can_be_asked_for() -> None:
    """With a track given, events of other tracks and of none are skipped."""
    assert isinstance(parse({**EVENT, "track": "canary"}, track="canary"), PredictedRows)
    assert parse({**EVENT, "track": "stable"}, track="canary") is SkipReason.OTHER_TRACK
    assert parse(EVENT, track="canary") is SkipReason.OTHER_TRACK


def test_predictions_follow_the_kind_of_the_reference() -> None:
    """The class 1 may be logged as 1, 1.0 or text; a regression takes numbers only."""
    for written in (1, 1.0, "1", "1.0"):
        rows = parse({**EVENT, "predictions": [written]})
        assert isinstance(rows, PredictedRows)
        assert rows.predictions.tolist() == ["1"]
    numbers = parse({**EVENT, "predictions": [1.25]}, NUMBERS)
    assert isinstance(numbers, PredictedRows)
    assert numbers.predictions.dtype == np.float64
    assert parse({**EVENT, "predictions": ["setosa"]}, NUMBERS) is SkipReason.MALFORMED_EVENT


def test_null_is_a_missing_value() -> None:
    """A null feature becomes NaN; the row stays."""
    rows = parse({**EVENT, "features": [[None, 2.0]]})
    assert isinstance(rows, PredictedRows)
    assert np.isnan(rows.features[0, 0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(line=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@example(line=b"[" * 5000)
@example(line=b"\xff\xfe{}")
def test_any_bytes_are_read_without_an_error(line: bytes) -> None:
    """Whatever stands in a line, it is an event, a skipped line or a normal line."""
    result = parse_line(line, LABELS, None)
    assert result is None or isinstance(result, (SkipReason, PredictedRows))


@given(
    fields=st.dictionaries(
        st.sampled_from(["event_id", "features", "predictions", "part", "shadow", "track"]), JSON
    ),
    features=st.lists(st.lists(JSON, min_size=2, max_size=2), min_size=1, max_size=2),
    timestamp=JSON | st.datetimes().map(datetime.isoformat) | st.just("0001-01-01T00:00:00+14:00"),
    schema=st.sampled_from([LABELS, NUMBERS]),
)
def test_any_event_is_read_without_an_error(
    fields: dict[str, object], features: list[object], timestamp: object, schema: Schema
) -> None:
    """Whatever stands in the fields of an event, it gives rows of the right shape or a reason."""
    event = {**EVENT, "features": features, **fields}
    line = {"timestamp": timestamp, "logger": "drift-monitoring", "message": json.dumps(event)}
    result = parse_line(json.dumps(line).encode(), schema, None)
    assert isinstance(result, (SkipReason, PredictedRows))
    if isinstance(result, PredictedRows):
        assert result.features.shape == (len(result.predictions), 2)


def test_texts_become_the_codes_of_the_reference() -> None:
    """A text that the reference does not have has a code of its own, null is nan, and a number is no text."""
    schema = Schema(("feature_0", "feature_1"), "label", (("north", "south"), ()))
    rows = [["south", 1.5], ["west", None], [None, 2]]
    found = parse_line(_line({**EVENT, "features": rows, "predictions": ["a", "a", "b"]}), schema, None)
    assert isinstance(found, PredictedRows)
    np.testing.assert_array_equal(found.features, [[1, 1.5], [2, np.nan], [np.nan, 2]])
    for wrong in ([[1, 1.5]], [["south", "x"]], [["south", True]]):
        event = {**EVENT, "features": wrong, "predictions": ["a"]}
        assert parse_line(_line(event), schema, None) is SkipReason.MALFORMED_EVENT


def test_categories_that_are_written_as_numbers() -> None:
    """Where the reference has numbers alone, as of the categories 1 and 2, the texts of events are those numbers."""
    found = parse_line(
        _line({**EVENT, "features": [["1", "2.5"], ["2", None]], "predictions": ["a", "a"]}), LABELS, None
    )
    assert isinstance(found, PredictedRows)
    np.testing.assert_array_equal(found.features, [[1, 2.5], [2, np.nan]])


def _line(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode()
