"""Lines that container runtimes framed and cut: put together again, each stream by itself."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.current.cut_line import LineJoiner
from drift.current.event_filter import EventFilter, SkipReason
from drift.current.intake import Intake
from drift.current.prediction_log import PredictionLog
from drift.rows import Reference

FRAME = "2026-11-23T08:00:00.5Z stdout"
HALF_PAST = 1_795_420_800.5
DOCKER_CUT = 16 * 1024


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_whole_line_of_cri_loses_its_frame(end: str) -> None:
    """What containerd writes before a line is the time that it has when it names none."""
    assert LineJoiner().add(f'{FRAME} F {{"a": 1}}{end}', 1) == ('{"a": 1}', HALF_PAST)
    assert LineJoiner().add(f"{FRAME} F:tag text", 1) == ("text", HALF_PAST)


def test_a_line_without_a_frame_stays_as_it_is() -> None:
    """Other lines, those of our own that have a field `log` too, are not touched."""
    for line in ('{"a": 1}', "Traceback", '{"log": "x", "level": "INFO", "logger": "y"}', '{"log": ', "[1]"):
        assert LineJoiner().add(line, 1) == (line, None)


@given(
    texts=st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), min_size=1, max_size=3),
    choices=st.randoms(use_true_random=False),
)
def test_parts_are_joined_however_streams_are_mixed(texts: list[list[str]], choices: object) -> None:
    """Any parts of any streams, in any mixture that keeps the order of each stream, give the lines again."""
    texts = [["".join(part.split()) for part in parts] for parts in texts]
    joiner, left, found = LineJoiner(), {stream: list(parts) for stream, parts in enumerate(texts)}, {}
    while left:
        stream = choices.choice(sorted(left))  # type: ignore[attr-defined]
        part = left[stream].pop(0)
        tag = "P" if left[stream] else "F"
        joined = joiner.add(f"{FRAME} {tag} {part}", stream)
        assert (joined is None) == bool(left[stream])
        if joined is not None:
            found[stream] = joined[0]
            del left[stream]
    assert found == {stream: "".join(parts) for stream, parts in enumerate(texts)}


def test_a_line_that_never_ends_is_given_up() -> None:
    """Parts are kept up to a mebibyte; what is longer is counted, and the stream goes on."""
    joiner = LineJoiner()
    for _ in range(70):
        assert joiner.add(f"{FRAME} P {'x' * 16_000}", 1) is None
    assert joiner.abandoned == 1
    for stream in range(2000):
        joiner.add(f"{FRAME} P x", ("many", stream))
    assert joiner.abandoned >= 1000


def test_events_of_docker_that_were_cut_count(reference: Reference) -> None:
    """Docker cuts a long line at 16 KiB, each part an object of its own; two containers write at once."""
    event = {"event": "prediction", "event_id": "long", "features": [[1.0, 2, 3, 4]] * 900}
    event |= {"predictions": ["setosa"] * 900}
    line = json.dumps({"logger": "drift-monitoring", "message": json.dumps(event)}) + "\n"
    parts = [line[start : start + DOCKER_CUT] for start in range(0, len(line), DOCKER_CUT)]
    assert len(parts) > 1
    intake = Intake(reference.schema, EventFilter(), range_seconds=3600, max_rows=1000)
    wrapped = [
        json.dumps({"log": part, "stream": "stdout", "time": "2026-11-23T08:00:00.5Z"}) for part in parts
    ]
    intake.take([(text, 0.0, "a") for text in wrapped[:1]], HALF_PAST, origin="test")
    intake.take(
        [(wrapped[0], 0.0, "b"), *((text, 0.0, "a") for text in wrapped[1:])], HALF_PAST, origin="test"
    )
    rows = intake.sample(HALF_PAST)
    assert rows is not None
    assert len(rows) == 900
    assert not intake.take_skipped()


def test_a_file_of_a_container_runtime_is_read(tmp_path: Path, reference: Reference) -> None:
    """The log file that the kubelet keeps, with whole lines, parts, and a line that is no event."""
    event = {"event": "prediction", "event_id": "e", "features": [[1.0, 2, 3, 4]], "predictions": ["setosa"]}
    line = json.dumps({"logger": "drift-monitoring", "message": json.dumps(event)})
    other = line.replace('\\"e\\"', '\\"f\\"')
    path = tmp_path / "0.log"
    path.write_text(
        f"{FRAME} F {line}\n{FRAME} P {other[:40]}\n{FRAME} F {other[40:]}\n{FRAME} F Traceback\n"
    )
    log = PredictionLog(path, reference.schema, range_seconds=3600, max_rows=10)
    rows = log.read(HALF_PAST)
    assert rows is not None
    assert len(rows) == 2
    assert log.take_skipped() == {SkipReason.NOT_JSON: 1}
    assert log.read(HALF_PAST + 3601) is None  # the frame's time is theirs
