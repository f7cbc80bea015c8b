"""Agreement by replay: rows of a prediction log sent to a real gRPC server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos.inference.v1 import inference_pb2 as pb
from rollout.driver import Comparison
from rollout.errors import InfrastructureError
from rollout.local.replay import Replay

if TYPE_CHECKING:
    from tests.rollout.conftest import Backend

TOLERANCE = 0.05

Serve = Callable[[str], "Backend"]


def event(rows: list[list[float]], outputs: list[Any], **changed: object) -> bytes:
    """Return a prediction event as the server logs it."""
    message = {"event": "prediction", "event_id": "e", "features": rows, "predictions": outputs} | changed
    line = {"level": "INFO", "logger": "drift-monitoring", "message": json.dumps(message)}
    return json.dumps(line).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Stable's log with what was answered before the rollout."""
    path = tmp_path / "stable-1.log"
    path.write_bytes(event([[9.0]], ["before"]))
    return path


@pytest.fixture
def canary(serve: Serve) -> Iterator[Backend]:
    """A canary that answers "big" above 10."""
    backend = serve("8")
    backend.answer = lambda request: [
        pb.Prediction(label="big" if row.values[0] > 10 else "small") for row in request.rows
    ]
    yield backend
    backend.stop()


@pytest.fixture
def replay(log: Path, canary: Backend) -> Iterator[Replay]:
    """The replay from log to canary."""
    replay = Replay(log, canary.address)
    yield replay
    replay.close()


def append(log: Path, *lines: bytes) -> None:
    with log.open("ab") as file:
        file.writelines(lines)


def test_what_was_logged_before_the_rollout_is_no_evidence(replay: Replay, canary: Backend) -> None:
    """Without new rows nothing is compared, and nothing is sent."""
    assert replay.compare(TOLERANCE) == Comparison(0, 0)
    assert canary.seen == []


def test_rows_are_compared_with_what_stable_answered(replay: Replay, log: Path, canary: Backend) -> None:
    """Every request once, marked as a replay, so that nobody takes it for user traffic."""
    append(log, event([[1.0]], ["small"]), event([[20.0]], ["big"]), event([[2.0]], ["big"]))
    assert replay.compare(TOLERANCE) == Comparison(3, 1)
    assert replay.compare(TOLERANCE) == Comparison(0, 0)
    ((request, metadata),) = canary.seen
    assert sorted(row.values[0] for row in request.rows) == [1.0, 2.0, 20.0]
    assert metadata["x-shadow-request"] == "true"


def test_texts_and_missing_values_are_sent_as_they_are(replay: Replay, log: Path, canary: Backend) -> None:
    """Rows of a model with categories go as cells, so that a canary with other codes reads the same texts."""
    canary.answer = lambda request: [pb.Prediction(label=row.cells[0] or "none") for row in request.rows]
    append(
        log, event([["red", 1.5]], ["red"]), event([[None, None]], ["none"]), event([["blue", 2]], ["red"])
    )
    assert replay.compare(TOLERANCE) == Comparison(3, 1)
    ((request, _),) = canary.seen
    assert sorted(str(list(row.cells)) for row in request.rows) == [
        *("['blue', 2.0]", "['red', 1.5]", "[None, None]")
    ]


def test_one_row_of_each_request_is_evidence(replay: Replay, log: Path, canary: Backend) -> None:
    """The rows of one request are often alike; as independent ones they would prove too much."""
    append(log, *(event([[1.0]] * 50, ["small"] * 50) for _ in range(3)))
    assert replay.compare(TOLERANCE) == Comparison(3, 0)


def test_at_most_64_rows_are_sent_a_look_from_all_that_came(
    replay: Replay, log: Path, canary: Backend
) -> None:
    """A burst does not burden the canary: a sample of all of it is sent, not its first rows."""
    append(log, *(event([[float(n)]], ["small"]) for n in range(500)))
    assert replay.compare(TOLERANCE).rows == 64
    ((request, _),) = canary.seen
    assert max(row.values[0] for row in request.rows) > 300
    assert replay.compare(TOLERANCE).rows == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"[]\n",
        b'"text"\n',
        b"{}\n",
        b'{"logger": "inference", "message": "serving"}\n',
        b'{"logger": "drift-monitoring", "message": "no json"}\n',
        b'{"logger": "drift-monitoring", "message": "[]"}\n',
        b'{"logger": "drift-monitoring", "message": 7}\n',
        b'{"logger": "drift-monitoring"}\n',
        b"\xff\xfe\n",
        event([[1.0]], ["x"], event="feedback"),
        event([[1.0]], ["x"], shadow=True),
        event([[1.0]], ["x"], features=None),
        event([[1.0]], ["x"])[:-10] + b"\n",
    ],
)
def test_other_lines_are_skipped(replay: Replay, log: Path, line: bytes) -> None:
    """Whatever else stands in the log, replayed calls included, is no row."""
    append(log, line, event([[1.0]], ["small"]))
    assert replay.compare(TOLERANCE) == Comparison(1, 0)


def test_a_line_still_being_written_waits(replay: Replay, log: Path) -> None:
    """Half a line is read when it is whole."""
    line = event([[1.0]], ["small"])
    append(log, line[:30])
    assert replay.compare(TOLERANCE) == Comparison(0, 0)
    append(log, line[30:])
    assert replay.compare(TOLERANCE) == Comparison(1, 0)


def test_regression_outputs_agree_within_the_tolerance(replay: Replay, log: Path, canary: Backend) -> None:
    """Values that differ by less than the share given are the same."""
    canary.answer = lambda request: [pb.Prediction(value=row.values[0]) for row in request.rows]
    rows = {100.0: 100, 0.0: 0.0, 104.0: 100.0, 106.0: 100.0, -100.0: 100.0}
    append(log, *(event([[row]], [answer]) for row, answer in rows.items()))
    assert replay.compare(TOLERANCE) == Comparison(5, 2)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, Comparison(0, 0)),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Comparison(0, 0)),
        (grpc.StatusCode.INVALID_ARGUMENT, Comparison(2, 2)),
        (grpc.StatusCode.INTERNAL, Comparison(1, 1)),
    ],
)
def test_a_refusal_is_disagreement_and_silence_is_nothing(
    replay: Replay, log: Path, canary: Backend, code: grpc.StatusCode, expected: Comparison
) -> None:
    """A canary that refuses rows which stable took differs on each; a failure is one; silence is nothing."""
    canary.fail_every, canary.code = 1, code
    append(log, event([[1.0]], ["small"]), event([[2.0]], ["small"]))
    assert replay.compare(TOLERANCE) == expected


def test_a_canary_that_is_gone_says_nothing(replay: Replay, log: Path, canary: Backend) -> None:
    """Its health is another check's matter."""
    canary.stop()
    append(log, event([[1.0]], ["small"]))
    assert replay.compare(TOLERANCE) == Comparison(0, 0)


def test_a_log_that_is_gone_is_an_infrastructure_error(replay: Replay, log: Path) -> None:
    """It rolls the rollout back in words."""
    log.unlink()
    with pytest.raises(InfrastructureError, match="prediction log cannot be read"):
        replay.compare(TOLERANCE)
