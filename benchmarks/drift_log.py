"""How fast the drift monitor reads a prediction log: lines of one row each, into the window.

    python -m benchmarks.drift_log [--json DIR] [--events N]

Beside it the plain way, with the same result: parse a line, parse its message, check, make arrays of one row, add
them to the window. Processor seconds of one core, the least of several rounds, the two in turns. Exit 1 when ours is
below its limit.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.report import say, table, write
from drift.current.log_tail import LogTail
from drift.current.prediction_log import PredictionLog
from drift.current.window import Window
from drift.rows import SAMPLE_SEED, Rows, Schema, row_key

__all__ = ["Measured", "main", "measure"]

#: Events a second a core that the monitor promises to read.
LEAST_EVENTS: Final = 150_000
WIDTHS: Final = (4, 20)
_EVENTS: Final = 100_000
_ROUNDS: Final = 5
_RANGE_SECONDS: Final = 3600.0
_MAX_ROWS: Final = 50_000
_START: Final = 1_790_000_000.0
_LABELS: Final = ("setosa", "versicolor", "virginica")


@dataclass(frozen=True)
class Measured:
    """Microseconds of one event, of ours and of the plain way."""

    features: int
    line_bytes: int
    ours_us: float
    plain_us: float

    @property
    def events_a_second(self) -> float:
        """Events a second a core of ours."""
        return 1e6 / self.ours_us

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.plain_us / self.ours_us


def measure(features: int, events: int = _EVENTS, rounds: int = _ROUNDS) -> Measured:
    """Read a log of `events` lines with so many features both ways."""
    schema = Schema(tuple(f"feature_{place}" for place in range(features)), "label")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "stable-0.log"
        path.write_bytes(_lines(events, features))
        seconds: dict[Callable[[Path, Schema], Rows | None], list[float]] = {_ours: [], _plain: []}
        for _ in range(rounds):
            for way, taken in seconds.items():
                start = time.process_time()
                rows = way(path, schema)
                taken.append(time.process_time() - start)
                assert rows is not None
                assert len(rows) == min(events, _MAX_ROWS)
        size = path.stat().st_size // events
    ours, plain = (min(taken) / events * 1e6 for taken in seconds.values())
    return Measured(features, size, ours, plain)


def main() -> int:
    """Measure and show; exit 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description="How fast a prediction log is read.")
    parser.add_argument("--json", type=Path, help="directory that results are written to")
    parser.add_argument("--events", type=int, default=_EVENTS, help=f"lines of the log (default {_EVENTS})")
    options = parser.parse_args()
    found = [measure(features, options.events) for features in WIDTHS]
    head = ["features", "bytes a line", "events a second", "us an event", "plain way, us", "ratio"]
    rows = [
        [
            one.features,
            one.line_bytes,
            f"{one.events_a_second:,.0f}",
            f"{one.ours_us:.2f}",
            f"{one.plain_us:.2f}",
            f"{one.ratio:.1f}",
        ]
        for one in found
    ]
    say(table(head, rows))
    say(f"\nlimit: {LEAST_EVENTS:,} events a second of one core")
    write(options.json, "drift_log", {"events": options.events, "runs": [asdict(one) for one in found]})
    return int(any(one.events_a_second < LEAST_EVENTS for one in found))


def _lines(events: int, features: int) -> bytes:
    """Return a log as the inference service writes it."""
    random = np.random.default_rng(SAMPLE_SEED)
    cells: NDArray[np.float32] = random.normal(size=(events, features)).astype(np.float32)
    probabilities: NDArray[np.float32] = random.dirichlet([1, 1, 1], events).astype(np.float32)
    return b"".join(_line(place, cells[place], probabilities[place]) for place in range(events))


def _line(place: int, cells: NDArray[np.float32], probabilities: NDArray[np.float32]) -> bytes:
    event: dict[str, Any] = {
        "event": "prediction",
        "event_id": uuid.UUID(int=place * 2**64 // 3).hex,
        "features": cells[None],
        "predictions": [_LABELS[int(probabilities.argmax())]],
        "probabilities": probabilities[None],
        "model": "iris",
        "version": "7",
        "digest": "ab" * 32,
        "track": "stable",
    }
    moment = datetime.fromtimestamp(_START + place * _RANGE_SECONDS / 1e6, UTC)
    line = {
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "level": "INFO",
        "logger": "drift-monitoring",
        "correlation_id": uuid.UUID(int=place).hex,
        "message": orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _ours(path: Path, schema: Schema) -> Rows | None:
    log = PredictionLog(path, schema, range_seconds=_RANGE_SECONDS, max_rows=_MAX_ROWS)
    return log.read(_START + _RANGE_SECONDS)


def _plain(path: Path, schema: Schema) -> Rows | None:
    window, seen, width = (
        Window(_MAX_ROWS, _RANGE_SECONDS, SAMPLE_SEED),
        set[int](),
        len(schema.feature_names),
    )
    for line in LogTail(path).lines():
        record = orjson.loads(line)
        event = orjson.loads(record["message"])
        timestamp = datetime.fromisoformat(record["timestamp"]).timestamp()
        key = hash((event["event_id"], event.get("part", 0)))
        features = event["features"]
        if key in seen or any(len(row) != width for row in features):
            continue
        seen.add(key)
        count = len(features)
        rows = Rows(
            np.array(features, dtype=np.float64),
            schema.predictions(event["predictions"]),
            np.array([max(row) for row in event["probabilities"]]),
            keys=np.array([row_key(event["event_id"], 0, row) for row in range(count)]),
        )
        window.add(np.full(count, timestamp), rows)
    return window.sample(_START + _RANGE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
