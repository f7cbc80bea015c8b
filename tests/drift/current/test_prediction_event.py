"""One line of the prediction log: what counts, what is skipped, and that nothing raises."""

import json
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson, ParseDict
from hypothesis import example, given
from hypothesis import strategies as st

from drift.current.event_batch import EventBatch
from drift.current.prediction_event import EventFilter, EventReader, PredictionEvent, SkipReason
from drift.rows import Rows, Schema, row_key
from protos.inference.v1 import event_pb2

LABELS = Schema(("feature_0", "feature_1"), "label")
NUMBERS = Schema(("feature_0", "feature_1"), "number")
EVENT = {"event": "prediction", "event_id": "e1", "features": [[1.0, 2.5]], "predictions": ["setosa"]}


TAKE_ALL = EventFilter()


def parse(
    event: Mapping[str, object], schema: Schema = LABELS, event_filter: EventFilter = TAKE_ALL
) -> PredictionEvent[object, object] | SkipReason | None:
    line = {"timestamp": "2026-11-23T08:00:00Z", "logger": "drift-monitoring", "message": json.dumps(event)}
    return read_line(json.dumps(line).encode(), schema, event_filter)


def read_line(
    line: bytes, schema: Schema = LABELS, event_filter: EventFilter = TAKE_ALL
) -> PredictionEvent[object, object] | SkipReason | None:
    return EventReader(schema, event_filter).read(line)


def rows_of(found: object, schema: Schema = LABELS) -> Rows:
    """Return the rows that an event becomes."""
    assert isinstance(found, PredictionEvent)
    batch = EventBatch(schema)
    batch.add(found, 0.0)
    return batch.gather().rows


def test_an_event_of_the_contract_is_read() -> None:
    """What protobuf writes for a `PredictionEvent` is what we read: rows, labels, part and time."""
    event = ParseDict(
        {
            **EVENT,
            "features": [[1, 2.5], [3, 4]],
            "predictions": ["a", "b"],
            "probabilities": [[0.75, 0.25], [0.4, 0.6]],
        },
        event_pb2.PredictionEvent(),
    )
    event.part = 2
    text = MessageToJson(event, preserving_proto_field_name=True, indent=None)
    line = {"timestamp": "2026-11-23T08:00:00.5Z", "logger": "drift-monitoring", "message": text}
    found = read_line(json.dumps(line).encode())
    assert isinstance(found, PredictionEvent)
    assert (found.event_id, found.part) == ("e1", 2)
    assert found.timestamp == datetime(2026, 11, 23, 8, 0, 0, 500_000, UTC).timestamp()
    rows = rows_of(found)
    assert rows.features.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert rows.predictions.tolist() == ["a", "b"]
    assert rows.confidences is not None
    assert rows.confidences.tolist() == [0.75, 0.6]
    assert rows.keys is not None
    assert rows.keys.tolist() == [row_key("e1", 2, 0), row_key("e1", 2, 1)]


MESSAGE = json.dumps(EVENT)
SERVICE_LINE = {"timestamp": "2026-11-23T08:00:00Z", "logger": "drift-monitoring", "message": MESSAGE}


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (EVENT, None),
        (SERVICE_LINE, 1_795_420_800),
        ({**SERVICE_LINE, "message": EVENT}, 1_795_420_800),
        ({**SERVICE_LINE, "timestamp": None}, None),
        ({**SERVICE_LINE, "timestamp": "2026-11-23 08:00:00,000"}, 1_795_420_800),
        ({**SERVICE_LINE, "timestamp": "2026-11-23T08:00:00"}, 1_795_420_800),
        ({"message": MESSAGE}, None),
        ({"message": EVENT, "time": "2026-11-23T09:00:00+01:00"}, 1_795_420_800),
        (
            {"log": json.dumps(SERVICE_LINE) + "\n", "stream": "stdout", "time": "2026-11-23T08:00:07Z"},
            1_795_420_800,
        ),
        ({"log": MESSAGE + "\n", "stream": "stdout", "time": "2026-11-23T08:00:07Z"}, 1_795_420_807),
        ({"message": json.dumps(SERVICE_LINE), "kubernetes": {"pod": "a"}}, 1_795_420_800),
        (
            {**EVENT, "timestamp": "2026-11-23T08:00:00Z", "logger": "drift-monitoring", "level": "INFO"},
            1_795_420_800,
        ),
        ({**EVENT, "features": "[[1.0, 2.5]]", "predictions": '["setosa"]'}, None),
    ],
)
def test_an_event_is_found_in_any_wrapping(line: dict[str, object], seconds: float | None) -> None:
    """Bare, in the service's own line, parsed by a collector, or in Docker's; the innermost time is the event's."""
    found = read_line(json.dumps(line).encode())
    assert isinstance(found, PredictionEvent)
    assert found.timestamp == seconds
    rows = rows_of(found)
    assert (rows.features.tolist(), rows.predictions.tolist()) == ([[1.0, 2.5]], ["setosa"])


@pytest.mark.parametrize(
    ("probabilities", "confidences"),
    [
        ([[0.2, 0.8], [1.00000001, 0.0]], [0.8, 1.0]),
        ([], [np.nan, np.nan]),
        ([[0.2, 0.8]], [np.nan, np.nan]),
        ([[None, None], [0.3, 0.7]], [np.nan, 0.7]),
        ([[], [7.0, 0.1]], [np.nan, np.nan]),
        ("none", [np.nan, np.nan]),
    ],
)
def test_the_highest_probability_is_the_confidence(probabilities: object, confidences: list[float]) -> None:
    """A row without probabilities, or with ones that are none, has nan; the row itself counts."""
    event = {**EVENT, "features": [[1, 2], [3, 4]], "predictions": ["a", "b"], "probabilities": probabilities}
    rows = rows_of(parse(event))
    np.testing.assert_array_equal(rows.confidences, confidences)


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
    assert read_line(line) is None


def test_a_broken_message_is_a_malformed_event() -> None:
    """A message cut in the middle was an event, unlike a line that is no JSON at all."""
    line = json.dumps({"logger": "drift-monitoring", "message": '{"event": "prediction", "featu'}).encode()
    assert read_line(line) is SkipReason.MALFORMED_EVENT
    assert read_line(line[:-5]) is SkipReason.NOT_JSON


@pytest.mark.parametrize("wrapped", [True, False])
def test_track_model_and_version_can_be_asked_for(wrapped: bool) -> None:
    """With one of them given, events of others and of none are skipped, each with its own reason."""
    wanted = EventFilter(track="canary", model="iris", version="7")
    event = {**EVENT, "track": "canary", "model": "iris", "version": "7"}

    def found(**changed: object) -> object:
        changed_event = {**event, **changed}
        if wrapped:
            return parse(changed_event, event_filter=wanted)
        return read_line(json.dumps(changed_event).encode(), LABELS, wanted)

    assert isinstance(found(), PredictionEvent)
    assert found(track="stable") is SkipReason.OTHER_TRACK
    assert found(track=None) is SkipReason.OTHER_TRACK
    assert found(model="wine") is SkipReason.OTHER_MODEL
    assert found(version="8") is SkipReason.OTHER_VERSION
    assert isinstance(found(version=7), PredictionEvent)


def test_predictions_follow_the_kind_of_the_reference() -> None:
    """The class 1 may be logged as 1, 1.0 or text; a regression takes numbers only."""
    for written in (1, 1.0, "1", "1.0"):
        assert rows_of(parse({**EVENT, "predictions": [written]})).predictions.tolist() == ["1"]
    for number in (1.25, "1.25"):
        rows = rows_of(parse({**EVENT, "predictions": [number]}, NUMBERS), NUMBERS)
        assert rows.predictions.dtype == np.float64
        assert rows.predictions.tolist() == [1.25]
    assert parse({**EVENT, "predictions": ["setosa"]}, NUMBERS) is SkipReason.MALFORMED_EVENT


def test_null_is_a_missing_value() -> None:
    """A null feature becomes NaN; the row stays."""
    rows = rows_of(parse({**EVENT, "features": [[None, 2.0]]}))
    assert np.isnan(rows.features[0, 0])
    assert rows.features[0, 1] == 2


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
    result = read_line(line)
    assert result is None or isinstance(result, (SkipReason, PredictionEvent))


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
    result = read_line(json.dumps(line).encode(), schema)
    assert isinstance(result, (SkipReason, PredictionEvent))
    if isinstance(result, PredictionEvent):
        rows = rows_of(result, schema)
        assert rows.features.shape == (len(rows.predictions), 2)
        assert rows.confidences is not None
        assert len(rows.confidences) == len(rows)


def test_texts_become_the_codes_of_the_reference() -> None:
    """A text that the reference does not have has a code of its own, null is nan, and a number is no text."""
    schema = Schema(("feature_0", "feature_1"), "label", (("north", "south"), ()))
    rows = [["south", 1.5], ["west", None], [None, 2]]
    found = rows_of(
        read_line(_line({**EVENT, "features": rows, "predictions": ["a", "a", "b"]}), schema), schema
    )
    np.testing.assert_array_equal(found.features, [[1, 1.5], [2, np.nan], [np.nan, 2]])
    for wrong in ([[1, 1.5]], [["south", "x"]], [["south", True]]):
        event = {**EVENT, "features": wrong, "predictions": ["a"]}
        assert read_line(_line(event), schema) is SkipReason.MALFORMED_EVENT
        assert parse(event, schema) is SkipReason.MALFORMED_EVENT


def test_categories_that_are_written_as_numbers() -> None:
    """Where the reference has numbers alone, as of the categories 1 and 2, the texts of events are those numbers."""
    found = rows_of(
        read_line(_line({**EVENT, "features": [["1", "2.5"], ["2", None]], "predictions": ["a", "a"]}))
    )
    np.testing.assert_array_equal(found.features, [[1, 2.5], [2, np.nan]])


def test_labels_that_are_very_long_become_short() -> None:
    """Equal ones stay equal and others different; those of the reference stay whole, and so do normal ones."""
    reader = EventReader(LABELS, TAKE_ALL, ["r" * 300, "setosa"])

    def label(written: str) -> object:
        return rows_of(reader.read(_line({**EVENT, "predictions": [written]}))).predictions[0]

    long = "x" * 8000
    short = str(label(long))
    assert short.startswith("x" * 64)
    assert len(short) < 100
    assert label(long) == short
    assert label(long + "y") != short
    for whole in ("r" * 300, "y" * 256, "setosa"):
        assert label(whole) == whole
    assert label("r" * 301) != "r" * 301


def test_labels_cost_little_memory() -> None:
    """A thousand labels of 8 KB, all different: neither the rows nor the reader keep them."""
    reader = EventReader(LABELS, TAKE_ALL)
    rows: list[object] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            found = reader.read(_line({**EVENT, "predictions": [f"{number:08}" + "x" * 8000]}))
            assert isinstance(found, PredictionEvent)
            rows += found.predictions
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(set(rows)) == 1000
    assert kept - before < 1_000_000


def _line(event: Mapping[str, object]) -> bytes:
    return json.dumps(event).encode()
