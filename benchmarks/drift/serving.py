"""The drift monitor as a process: how soon it answers, and how much memory it holds when it has evaluated."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.drift.comparing import make_rows
from benchmarks.targets import ROOT

__all__ = ["Serving", "serve"]

_MOST_START_SECONDS: Final = 3.0
_MOST_RESIDENT_MIB: Final = 150.0
_START_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Serving:
    """The service: seconds to its first answer, and resident MiB then and after an evaluation."""

    reference_rows: int
    features: int
    start_seconds: float
    resident_at_start_mib: float
    resident_mib: float

    @property
    def broken(self) -> list[str]:
        """The limits that do not hold."""
        broken = [] if self.start_seconds <= _MOST_START_SECONDS else [f"> {_MOST_START_SECONDS:g} s"]
        return broken + ([f"> {_MOST_RESIDENT_MIB:g} MiB"] if self.resident_mib > _MOST_RESIDENT_MIB else [])


def serve(home: Path, rows: int, features: int) -> Serving:
    """Start it on datasets in `home`, let it evaluate twice, and end it."""
    paths = [
        _csv(home / f"{name}-{rows}.csv", rows, features, seed) for seed, name in enumerate(("old", "new"))
    ]
    variables = {
        "REFERENCE_DATASET_URI": str(paths[0]),
        "CURRENT_DATASET_URI": str(paths[1]),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PYTHONPATH": str(ROOT),
    }
    start = time.perf_counter()
    with (home / "log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "drift"], stdout=log, stderr=log, cwd=home, env={**os.environ, **variables}
        )
        try:
            address = f"http://127.0.0.1:{_port(process, home / 'log')}"
            _ask(f"{address}/healthz")
            seconds, at_start = time.perf_counter() - start, _resident_mib(process.pid)
            _ask(f"{address}/refresh", method="POST")  # joins the evaluation that begins at start
            _ask(f"{address}/refresh", method="POST")
            return Serving(rows, features, seconds, at_start, _resident_mib(process.pid))
        finally:
            process.terminate()
            process.wait()


def _csv(path: Path, count: int, features: int, seed: int) -> Path:
    rows = make_rows(count, features, seed)
    with path.open("w") as file:
        file.write(",".join([*(f"feature_{place}" for place in range(features)), "prediction"]) + "\n")
        for values, label in zip(rows.features.round(4).tolist(), rows.predictions, strict=True):
            file.write(",".join([*map(str, values), label]) + "\n")
    return path


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    until = time.monotonic() + _START_LIMIT_SECONDS
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_bytes().splitlines():
            if b'"http_port"' in line:
                return int(json.loads(line)["http_port"])
        time.sleep(0.01)
    raise RuntimeError(f"the drift monitor did not start: {log.read_text()}")


def _ask(url: str, method: str = "GET") -> None:
    request = urllib.request.Request(url, method=method)  # noqa: S310 - our own process
    with urllib.request.urlopen(request, timeout=_START_LIMIT_SECONDS) as response:  # noqa: S310
        response.read()


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmRSS"))) / 1024
