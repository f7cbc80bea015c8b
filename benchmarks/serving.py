"""Serving beside its limit: our server, all features on, and a grpcio server that does nothing.

python -m benchmarks.serving [--rounds 5] [--seconds 3] [--native] [--json DIR]
"""

import argparse
import base64
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.bundles import train
from benchmarks.load import Case, Measured, offer
from benchmarks.report import say, table, write
from benchmarks.targets import EMPTY, OURS, Target, running

_ROW: Final = [5.1, 3.5, 1.4, 0.2]
_TENSOR: Final = {
    "row_count": 64,
    "column_count": 4,
    "float32_values": base64.b64encode(np.tile(np.float32(_ROW), (64, 1)).tobytes()).decode(),
}
CASES: Final = (
    Case("1 row, 8 callers", 8, 1, {"rows": [{"values": _ROW}]}),
    Case("1 row, 32 callers", 32, 4, {"rows": [{"values": _ROW}]}),
    Case("64 rows, 8 callers", 8, 1, {"tensor": _TENSOR}),
)
_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Sample:
    """One target in one case of one round."""

    load: Measured
    #: Processor time of the server a call, in microseconds.
    cpu_us: float


def main() -> int:
    """Measure and show."""
    options = _parse()
    targets = [EMPTY, OURS]
    if options.native:
        targets.append(Target("ours, native transport", OURS.command, {"GRPC_TRANSPORT": "native"}))
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        bundle = train(Path(directory))
        _measure_starts(bundle, starts, options.rounds)
        for number in range(options.rounds):
            shift = number % len(targets)
            for target in targets[shift:] + targets[:shift]:  # whoever comes first is no better off
                memory[target.name] = _measure(target, bundle, samples, options.seconds)
            say(f"round {number + 1} of {options.rounds} is measured")
    say(_speed_table(targets, samples, memory))
    say(_start_table(starts))
    results = {
        f"{name}: {case}": [vars(s.load) | {"cpu_us": s.cpu_us} for s in found]
        for (name, case), found in samples.items()
    }
    write(options.json, "serving", {"samples": results, "start_seconds": starts, "resident_mb": memory})
    return 0


def _measure(
    target: Target, bundle: Path, samples: dict[tuple[str, str], list[Sample]], seconds: float
) -> float:
    with running(target, bundle) as server:
        offer(server.grpc_port, CASES[0], _WARM_UP_SECONDS)
        memory = server.memory()
        for case in CASES:
            before = server.cpu_seconds()
            load = offer(server.grpc_port, case, seconds)
            used = server.cpu_seconds() - before
            if load.failed:
                raise RuntimeError(f"{load.failed} calls failed at {target.name}")
            samples[target.name, case.name].append(Sample(load, used * 1e6 / load.answered))
        return memory


def _measure_starts(bundle: Path, starts: dict[str, list[float]], rounds: int) -> None:
    limit = Target("empty grpcio + import onnxruntime", (*EMPTY.command, "--with-onnxruntime"), {})
    for _ in range(rounds + 1):
        for target in (limit, OURS):
            with running(target, bundle) as server:
                starts[target.name].append(server.start_seconds)
    for found in starts.values():
        del found[0]  # compiles bytecode, fills the cache


def _speed_table(
    targets: list[Target], samples: dict[tuple[str, str], list[Sample]], memory: dict[str, float]
) -> str:
    rows = []
    for target in targets:
        for case in CASES:
            ours, limit = samples[target.name, case.name], samples[EMPTY.name, case.name]
            ratios = [
                a.load.calls_per_second / b.load.calls_per_second for a, b in zip(ours, limit, strict=True)
            ]
            rows.append(
                [
                    target.name,
                    case.name,
                    f"{_median([s.load.calls_per_second for s in ours]):.0f}",
                    f"{_median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                    f"{_median([s.cpu_us for s in ours]):.0f}",
                    f"{_median([s.load.p50_ms for s in ours]):.2f} / {_median([s.load.p99_ms for s in ours]):.2f}",
                    f"{memory[target.name]:.0f}",
                ]
            )
    head = ["server", "case", "calls/s", "ratio to empty (range)", "CPU µs a call", "p50 / p99 ms", "RSS MB"]
    return table(head, rows)


def _start_table(starts: dict[str, list[float]]) -> str:
    limit, *_ = starts.values()
    rows = [
        [name, f"{_median(found):.2f}", f"{_median(found) / _median(limit):.2f}"]
        for name, found in starts.items()
    ]
    return "\n" + table(["start to SERVING, bundle cached", "seconds", "ratio"], rows)


def _median(numbers: list[float]) -> float:
    return statistics.median(numbers)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all targets (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="seconds a case (default: 3)")
    parser.add_argument("--native", action="store_true", help="measure the native transport too")
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
