"""Closed-loop client traffic: `python -m rollout.demo.traffic --address … --rows FILE --log FILE`.

Each caller sends one row, waits for the answer, thinks, and sends the next, over a few long-lived channels.
What it saw goes to the log or the terminal, one JSON line an interval. It ends on Ctrl-C or SIGTERM.
"""

import argparse
import csv
import json
import math
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, TextIO

from inference.client import PredictionClient, PredictionError, RetryPolicy
from telemetry import StopSignals

__all__ = ["main"]

_INTERVAL_SECONDS: Final = 0.25
_CHANNELS: Final = 2

#: Nothing of a prediction takes this long; a call that does has failed.
_TIMEOUT_SECONDS: Final = 5.0

#: Each is a thread; more of them only wait for each other.
_MOST_CALLERS: Final = 1000
_LONGEST_THINKING: Final = 3600.0
#: A huge field would be quoted as a whole.
_REASON_LENGTH: Final = 200


class Tally:
    """What the callers saw since it was last taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds: list[float] = []

    def answered(self, version: str, seconds: float) -> None:
        """Count a call that a model version answered."""
        with self._lock:
            self._versions[version] += 1
            self._seconds.append(seconds)

    def failed(self, code: str) -> None:
        """Count a call that failed, by gRPC status."""
        with self._lock:
            self._failures[code] += 1

    def take(self) -> dict[str, Any]:
        """Return the figures of this interval and begin the next."""
        with self._lock:
            versions, failures, seconds = self._versions, self._failures, sorted(self._seconds)
            self._versions, self._failures, self._seconds = Counter(), Counter(), []
        return {
            "at": time.time(),
            "versions": versions,
            "failures": failures,
            "p50_ms": _quantile_ms(seconds, 0.50),
            "p99_ms": _quantile_ms(seconds, 0.99),
        }


def main(arguments: list[str] | None = None) -> int:
    """Send traffic until told to stop."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        rows = _read_rows(options.rows, options.shift)
        opened = _open_log(options.log)
    except ValueError as error:
        parser.error(str(error))
    tally = Tally()
    parent = os.getppid() if options.end_with_parent else None
    # A call that failed is what is counted here: none is tried again.
    never = RetryPolicy(max_attempts=1)
    clients = [PredictionClient(options.address, retry=never) for _ in range(_CHANNELS)]
    with StopSignals() as signals, opened as log:
        callers = [
            threading.Thread(
                target=_call, args=(clients[n % _CHANNELS], rows, options.think, tally, signals, n)
            )
            for n in range(options.callers)
        ]
        for caller in callers:
            caller.start()
        while not signals.wait(_INTERVAL_SECONDS) and parent in (None, os.getppid()):
            _write(log, tally)
        signals.stop()
        for caller in callers:
            caller.join()
        _write(log, tally)
    for client in clients:
        client.close()
    return 0


def _call(
    client: PredictionClient,
    rows: "list[list[_Cell]]",
    think: float,
    tally: Tally,
    signals: StopSignals,
    seed: int,
) -> None:
    chooser = random.Random(seed)
    while not signals.received:
        began = time.perf_counter()
        try:
            answer = client.predict([chooser.choice(rows)], deadline_seconds=_TIMEOUT_SECONDS)
        except PredictionError as error:
            tally.failed(error.code.name)
        else:
            tally.answered(answer.model_version, time.perf_counter() - began)
        signals.wait(think)


def _write(log: TextIO, tally: Tally) -> None:
    log.write(json.dumps(tally.take()) + "\n")
    log.flush()


def _open_log(path: Path | None) -> AbstractContextManager[TextIO]:
    """Open the log. Raises `ValueError` when it cannot be."""
    try:
        return path.open("a", encoding="utf-8") if path else nullcontext(sys.stdout)
    except OSError as error:
        raise ValueError(
            f"--log {path}: it cannot be written ({error.strerror}); name another file"
        ) from None


def _quantile_ms(seconds: list[float], share: float) -> float | None:
    return round(seconds[min(len(seconds) - 1, int(share * len(seconds)))] * 1000, 3) if seconds else None


_Cell = float | str | None


def _read_rows(path: Path, shift: float) -> list[list[_Cell]]:
    """Read the feature columns (all but the last, the target), numbers moved by `shift`. Raises `ValueError`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = [row[:-1] for row in csv.reader(file) if row][1:]
        columns = [_column(values, shift) for values in zip(*table, strict=True)]
        rows = [list(row) for row in zip(*columns, strict=True)]
        if not rows or not all(rows):
            raise ValueError("it has no row with a feature")
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)[:_REASON_LENGTH]
        raise ValueError(
            f"--rows {path}: it cannot be sent ({reason}); it must be a CSV with a header and the target in the "
            "last column, such as data/processed/iris.csv, which `invoke validate-data` writes"
        ) from None
    return rows


def _column(texts: Sequence[str], shift: float) -> list[_Cell]:
    """Return numbers where all are, else texts; what is empty is missing."""
    try:
        return [float(text) + shift if text else None for text in texts]
    except ValueError:
        return [text or None for text in texts]


def _callers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST_CALLERS:
        raise argparse.ArgumentTypeError(f"{text} callers cannot be; 1 to {_MOST_CALLERS} can")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return number


def _seconds(text: str) -> float:
    number = _finite(text)
    if not 0 <= number <= _LONGEST_THINKING:
        raise argparse.ArgumentTypeError(f"{text} seconds cannot be; 0 to {_LONGEST_THINKING:g} can")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rollout.demo.traffic", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50051", help="gRPC address (default: %(default)s)")
    parser.add_argument(
        "--rows",
        type=Path,
        default=Path("data/processed/iris.csv"),
        help="CSV with feature columns and the target last (default: %(default)s, "
        "which `invoke validate-data` writes)",
    )
    parser.add_argument("--log", type=Path, help="file that gets the JSON lines (default: the terminal)")
    parser.add_argument(
        "--callers", type=_callers, default=4, help="callers at one time (default: %(default)s)"
    )
    parser.add_argument(
        "--think",
        type=_seconds,
        default=0.01,
        help="seconds from an answer to the next call (default: %(default)s)",
    )
    parser.add_argument(
        "--shift",
        type=_finite,
        default=0.0,
        help="added to every feature: drifted traffic (default: %(default)s)",
    )
    parser.add_argument("--end-with-parent", action="store_true", help="end when the starting process ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
