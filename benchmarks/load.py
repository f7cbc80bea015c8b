"""Closed-loop load by `ghz`, a Go program: it takes a quarter of the processor time of the fastest server here.

`nox -s bench` installs it by `go install`; a generator in Python would be slower than what it measures.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.targets import LOAD_CORE, ROOT, pinned

__all__ = ["PREDICT", "Case", "Measured", "Method", "find_ghz", "offer"]

GHZ: Final = "github.com/bojand/ghz/cmd/ghz@v0.121.0"


@dataclass(frozen=True)
class Method:
    """What is called: its full name, and the file that describes it, from the root of the repository."""

    proto: str
    name: str


PREDICT: Final = Method("protos/inference/v1/inference.proto", "inference.v1.InferenceService.Predict")


@dataclass(frozen=True)
class Case:
    """How many callers ask at one time over how many connections, and what."""

    name: str
    callers: int
    connections: int
    request: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one run of the generator saw; latencies in milliseconds."""

    calls_per_second: float
    answered: int
    failed: int
    p50_ms: float
    p99_ms: float


def find_ghz() -> str:
    """Return the path of the generator. Raises `RuntimeError` with how to get it."""
    local = ROOT / ".nox" / "bin" / "ghz"
    found = str(local) if local.exists() else shutil.which("ghz")
    if found is None:
        raise RuntimeError(f"ghz is missing: `GOBIN={local.parent} go install {GHZ}` (needs Go)")
    return found


def offer(
    port: int, case: Case, seconds: float, method: Method = PREDICT, *, all_answered: bool = False
) -> Measured:
    """Ask as fast as answers come, for `seconds`.

    Raises `RuntimeError` when `ghz` itself fails, and with `all_answered` when a call does or none was answered.
    """
    ended = subprocess.run(
        pinned(
            LOAD_CORE, find_ghz(), "--insecure", "--import-paths", str(ROOT), "--proto", str(ROOT / method.proto),
            "--call", method.name, "--data", json.dumps(case.request), "--concurrency", str(case.callers),
            "--connections", str(case.connections), "--duration", f"{seconds}s", "--duration-stop", "wait",
            "--format", "json", f"127.0.0.1:{port}",
        ),
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"ghz failed: {ended.stderr.strip()}")
    found = json.loads(ended.stdout)
    answered = found["statusCodeDistribution"].get("OK", 0)
    failed = found["count"] - answered
    if all_answered and (failed or not answered):
        raise RuntimeError(
            f"{method.name} failed: {found['statusCodeDistribution']}, {found['errorDistribution']}"
        )
    latency = {entry["percentage"]: entry["latency"] / 1e6 for entry in found["latencyDistribution"]}
    return Measured(found["rps"], answered, failed, latency[50], latency[99])
