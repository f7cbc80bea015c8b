"""Prediction events, as drift and rollout read them."""

import json
import math
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.artifacts import Bundle, Outputs
from inference.event_lines import lines_of
from inference.events import MAX_LINE_BYTES, EventLog, PredictionRecord
from inference.generation import Generation
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.signature import Signature
from protos.inference.v1.event_pb2 import PredictionEvent
from protos.inference.v1.manifest_pb2 import ModelManifest


class _Predictor:
    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        raise NotImplementedError


def _generation(classes: tuple[str, ...] = ("no", "yes")) -> Generation:
    manifest = ModelManifest(name="m", classes=classes)
    return Generation(
        number=1,
        name="m",
        version="7",
        bundle=Bundle(Path("m"), manifest, None, "d" * 64),
        predictor=_Predictor(),
        signature=Signature(manifest),
        classes=classes,
        counters=Metrics("stable").prediction_counters(list(classes)),
        loaded_at=datetime.now(UTC),
    )


def _record(
    rows: int = 1,
    columns: int = 4,
    *,
    correlation_id: str = "r1",
    regression: bool = False,
    shadow: bool = False,
) -> PredictionRecord:
    generator = np.random.default_rng(0)
    features = generator.random((rows, columns), dtype=np.float32)
    probabilities = generator.random((rows, 2), dtype=np.float32)
    outputs = (
        Outputs(values=generator.random(rows))
        if regression
        else Outputs(class_index=probabilities.argmax(axis=1), probabilities=probabilities)
    )
    generation = _generation(() if regression else ("no", "yes"))
    return PredictionRecord(time.time(), "e1", correlation_id, generation, features, outputs, shadow)


class _Log:
    """An event log whose lines can be read, and its metrics."""

    def __init__(self, directory: Path, *, sample_rate: float = 1.0, max_entries: int = 100) -> None:
        self.path = directory / "events"
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY)
        self.metrics = Metrics("canary")
        self.writer = LineWriter(self.descriptor, max_entries=max_entries)
        self.log = EventLog(self.writer, self.metrics, track="canary", sample_rate=sample_rate)

    def finish(self) -> list[bytes]:
        self.writer.start()
        assert self.writer.close(10)
        os.close(self.descriptor)
        return self.path.read_bytes().splitlines(keepends=True)

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("ml_prediction_events_total", {"outcome": outcome})


def _events(lines: list[bytes]) -> list[PredictionEvent]:
    return [json_format.Parse(json.loads(line)["message"], PredictionEvent()) for line in lines]


def test_one_request_is_one_line(tmp_path: Path) -> None:
    """The outer object is a log line of `drift-monitoring`, the message a PredictionEvent as JSON."""
    log = _Log(tmp_path)
    record = _record(rows=2)
    log.log.append(record)
    (line,) = log.finish()
    outer = json.loads(line)
    assert list(outer) == ["timestamp", "level", "logger", "correlation_id", "message"]
    assert (outer["level"], outer["logger"], outer["correlation_id"]) == ("INFO", "drift-monitoring", "r1")
    assert datetime.fromisoformat(outer["timestamp"]).timestamp() == pytest.approx(
        record.answered_at, abs=1e-3
    )
    (event,) = _events([line])
    assert (event.event, event.event_id, event.model, event.version) == ("prediction", "e1", "m", "7")
    assert (event.digest, event.track, event.shadow) == ("d" * 64, "canary", False)
    assert not event.HasField("part")
    np.testing.assert_array_equal(
        np.array([list(row) for row in event.features], np.float32), record.features
    )
    assert [list(row) for row in event.probabilities] == pytest.approx(
        record.outputs.probabilities.astype(float), abs=1e-6
    )
    assert [value.string_value for value in event.predictions] == [
        ("no", "yes")[index] for index in record.outputs.class_index
    ]
    assert log.count("written") == 1


def test_regression_predicts_numbers(tmp_path: Path) -> None:
    """For regression predictions are numbers, and there are no probabilities."""
    log = _Log(tmp_path)
    record = _record(rows=3, regression=True)
    log.log.append(record)
    (event,) = _events(log.finish())
    assert [value.number_value for value in event.predictions] == record.outputs.values.tolist()
    assert list(event.probabilities) == []


def test_a_replay_is_marked(tmp_path: Path) -> None:
    """Readers of user traffic can tell a replay."""
    log = _Log(tmp_path)
    log.log.append(_record(shadow=True))
    (event,) = _events(log.finish())
    assert event.shadow


def _as_one_object(record: PredictionRecord, track: str) -> bytes:
    """Return the line that orjson makes of the whole event."""
    outputs, generation = record.outputs, record.generation
    classifies = outputs.class_index is not None
    event = {
        "event": "prediction",
        "event_id": record.event_id,
        "features": record.features,
        "predictions": [generation.classes[index] for index in outputs.class_index]
        if classifies
        else outputs.values,
        "probabilities": outputs.probabilities if classifies else [],
        "model": generation.name,
        "version": generation.version,
        "digest": generation.digest,
        "track": track,
        **({"shadow": True} if record.shadow else {}),
    }
    line = {
        "timestamp": f"{datetime.fromtimestamp(record.answered_at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
        "level": "INFO",
        "logger": "drift-monitoring",
        "correlation_id": record.correlation_id,
        "message": orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@given(
    rows=st.integers(1, 8),
    regression=st.booleans(),
    shadow=st.booleans(),
    texts=st.lists(st.text(max_size=20), min_size=5, max_size=5),
)
def test_a_line_is_what_orjson_makes_of_the_whole_event(
    rows: int, regression: bool, shadow: bool, texts: list[str]
) -> None:
    """Constant parts are written once and escaped once; the bytes are those of one object, whatever is in the texts."""
    record = _record(rows, correlation_id=texts[0], regression=regression, shadow=shadow)
    generation = replace(
        record.generation,
        version=texts[1],
        name=texts[2],
        classes=() if regression else (texts[3], texts[4] + "2"),
    )
    record = record._replace(generation=generation, event_id=texts[1], answered_at=1_700_000_000.25)
    assert lines_of(record, texts[4]) == _as_one_object(record, texts[4])


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 3000), columns=st.integers(1, 40))
def test_lines_are_short_and_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int
) -> None:
    """Whatever the size, lines stay below the limit, and the parts together are the request."""
    log = _Log(tmp_path_factory.mktemp("events"))
    record = _record(rows, columns)
    log.log.append(record)
    lines = log.finish()
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    events = _events(lines)
    assert {event.event_id for event in events} == {"e1"}
    if len(events) > 1:
        assert [event.part for event in events] == list(range(len(events)))
        assert {event.parts for event in events} == {len(events)}
    together = [list(row) for event in events for row in event.features]
    np.testing.assert_array_equal(np.array(together, np.float32), record.features)
    assert sum(len(event.predictions) for event in events) == rows


def test_a_row_too_wide_for_a_line_is_counted(tmp_path: Path) -> None:
    """A row that no line can hold is lost, counted, and does not stop the events behind it."""
    log = _Log(tmp_path)
    log.log.append(_record(columns=5000))
    log.log.append(_record())
    assert len(_events(log.finish())) == 1
    assert (log.count("failed"), log.count("written")) == (1, 1)


def test_overflow_is_dropped_and_counted(tmp_path: Path) -> None:
    """More events than the queue holds are dropped at once."""
    log = _Log(tmp_path, max_entries=10)
    for _ in range(15):
        log.log.append(_record())
    assert len(log.finish()) == 10
    assert (log.count("dropped"), log.count("written")) == (5, 10)


def test_sampling_keeps_its_share(tmp_path: Path) -> None:
    """About the asked share of requests is logged; the others are counted."""
    log = _Log(tmp_path, sample_rate=0.25, max_entries=4000)
    for _ in range(4000):
        log.log.append(_record())
    written = len(log.finish())
    assert log.count("sampled_out") == 4000 - written
    # Five standard deviations of a binomial.
    assert abs(written - 1000) < 5 * math.sqrt(4000 * 0.25 * 0.75)


@given(st.text())
def test_any_text_gives_one_parseable_line(tmp_path_factory: pytest.TempPathFactory, label: str) -> None:
    """Quotes, newlines and controls in a label break nothing."""
    label = label.encode("utf-8", "ignore").decode()  # protobuf text, where labels come from, is UTF-8
    log = _Log(tmp_path_factory.mktemp("events"))
    record = _record()._replace(generation=_generation((label, label)))
    log.log.append(record)
    lines = log.finish()
    if len(lines) == 1:
        assert _events(lines)[0].predictions[0].string_value == label
    else:
        assert log.count("failed") == 1
