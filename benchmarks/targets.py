"""Servers to measure: started pinned to one core, watched by their own /proc entries, ended by their owner."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["EMPTY", "LOAD_CORE", "OURS", "Running", "Target", "pinned", "running"]

ROOT: Final = Path(__file__).parents[1]
SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Target:
    """A server: its module with arguments, and what it is told by variables."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str]


EMPTY: Final = Target("empty grpcio, synchronous", ("-m", "benchmarks.empty_server"), {})
OURS: Final = Target("ours, all features", ("-m", "inference"), {})


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    process: "subprocess.Popen[bytes]"
    grpc_port: int
    http_port: int
    #: Seconds from the start of the process to its line `serving`.
    start_seconds: float

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that it used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, field: str = "VmRSS") -> float:
        """Return resident memory in MB: `VmRSS` now, `VmHWM` at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in status if line.startswith(field))) / 1024


def pinned(core: int, *command: str) -> list[str]:
    """Return a command that runs on one core, where the machine has more than one."""
    return ["taskset", "-c", str(core), *command] if (os.cpu_count() or 1) > 1 else [*command]


@contextmanager
def running(target: Target, bundle: Path, **variables: str) -> Iterator[Running]:
    """Start a server and end it afterwards."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(ROOT),
        # What is installed has its bytecode compiled; a source tree may not, and must not be written to.
        "PYTHONPYCACHEPREFIX": str(bundle.parent / "bytecode"),
        "GRPC_VERBOSITY": "NONE",
        "MODEL_SOURCE": "local",
        "MODEL_PATH": str(bundle),
        "MODEL_CACHE_DIR": str(bundle.parent / "cache"),
        "GRPC_HOST": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "GRPC_PORT": "0",
        "HTTP_PORT": "0",
        "DRAIN_DELAY_SECONDS": "0",
        **target.variables,
        **variables,
    }
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            pinned(SERVER_CORE, sys.executable, *target.command), env=environment, stdout=output, cwd=ROOT
        )
        try:
            said = _wait_until_serving(process, output.fileno())
            seconds = time.perf_counter() - began
            yield Running(process, said["grpc_port"], said.get("http_port", 0), seconds)
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_serving(process: "subprocess.Popen[bytes]", output: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        lines = os.pread(output, 1 << 20, 0).splitlines()
        for line in lines:
            if b'"serving"' in line:
                return dict(json.loads(line))
        time.sleep(0.005)
    raise RuntimeError(f"the server did not start: {os.pread(output, 1 << 20, 0).decode()}")
