"""Prediction events: any answer gives lines that a collector can read, or is counted as lost."""

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from inference.artifacts import Bundle, Outputs
from inference.events import MAX_LINE_BYTES, EventLog, PredictionRecord
from inference.generation import Generation
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.signature import Signature
from protos.inference.v1.event_pb2 import PredictionEvent
from protos.inference.v1.manifest_pb2 import ModelManifest
from tests.property.effort import converting

_METRICS = Metrics("stable")
#: Protobuf text, where names and labels come from, has no surrogates.
_texts = st.text(st.characters(exclude_categories=["Cs"]))
_finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
_sizes = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 8)),
    st.tuples(st.sampled_from([257, 600]), st.integers(1, 3)),  # several parts
    st.tuples(st.integers(1, 2), st.sampled_from([300, 2000])),  # rows about as wide as a line
)


class _NoPredictor:
    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        raise NotImplementedError


def _generation(name: str, version: str, classes: tuple[str, ...]) -> Generation:
    manifest = ModelManifest(name=name, classes=classes)
    return Generation(
        number=1,
        name=name,
        version=version,
        bundle=Bundle(Path("m"), manifest, None, "d" * 64),
        predictor=_NoPredictor(),
        signature=Signature(manifest),
        classes=classes,
        counters=_METRICS.prediction_counters(["x"]),
        loaded_at=datetime.now(UTC),
    )


@st.composite
def _records(draw: st.DrawFn) -> PredictionRecord:
    rows, columns = draw(_sizes)
    classes = tuple(draw(st.lists(_texts, max_size=4)))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    some = np.array(draw(st.lists(_finite, min_size=1, max_size=20)), np.float32)
    features = generator.choice(some, (rows, columns))
    if classes:
        shares = generator.random((rows, len(classes)), np.float32)
        outputs = Outputs(class_index=shares.argmax(axis=1), probabilities=shares)
    else:
        outputs = Outputs(values=generator.choice(draw(st.lists(st.floats(), min_size=1, max_size=20)), rows))
    correlation_id = draw(st.from_regex(r"[A-Za-z0-9._:/=+@-]{1,128}", fullmatch=True))
    generation = _generation(draw(_texts), draw(_texts), classes)
    return PredictionRecord(
        time.time(), "e" * 32, correlation_id, generation, features, outputs, draw(st.booleans())
    )


@converting
@given(_records())
def test_any_answer_gives_short_lines_that_can_be_read(record: PredictionRecord) -> None:
    """Each line is one JSON object within the limit, its message an event, and together they are the request."""
    lost = _lost()
    with tempfile.TemporaryFile() as output:
        writer = LineWriter(output.fileno())
        EventLog(writer, _METRICS, track="stable", sample_rate=1.0).append(record)
        writer.start()
        assert writer.close(10)
        output.seek(0)
        lines = output.readlines()
    if _lost() > lost:
        assert lines == []
        assert _is_wide(record)
    else:
        _check_lines(record, lines)


def _lost() -> float:
    return _METRICS.registry.get_sample_value("ml_prediction_events_total", {"outcome": "failed"}) or 0.0


def _is_wide(record: PredictionRecord) -> bool:
    """Tell whether one row may need more than a line: numbers take up to 25 characters, text up to 12 a character."""
    texts = sum(map(len, (record.generation.name, record.generation.version, *record.generation.classes)))
    numbers = record.features.shape[1] + len(record.generation.classes)
    return 25 * numbers + 12 * texts > MAX_LINE_BYTES - 700


def _check_lines(record: PredictionRecord, lines: list[bytes]) -> None:
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    outer = [json.loads(line) for line in lines]
    assert {line["correlation_id"] for line in outer} == {record.correlation_id}
    first = json_format.Parse(outer[0]["message"], PredictionEvent())  # slow, so only for one of them
    assert (first.model, first.version) == (record.generation.name, record.generation.version)
    events = [json.loads(line["message"]) for line in outer]
    rows = [row for event in events for row in event["features"]]
    np.testing.assert_array_equal(np.array(rows, np.float32), record.features)
    assert sum(len(event["predictions"]) for event in events) == len(record.features)
    assert [event.get("part", 0) for event in events] == list(range(len(events)))
