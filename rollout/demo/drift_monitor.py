"""The drift monitor of the demo: the real `python -m drift`, fed from the prediction log of the stack."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from rollout.errors import InfrastructureError
from rollout.local.processes import (
    ProcessRecord,
    ended,
    python_module,
    server_environment,
    start_detached,
    stop,
)

__all__ = ["DriftMonitor", "start_drift_monitor"]

_START_SECONDS: Final = 60.0
#: The first evaluation calibrates the alarm, which takes seconds of CPU on a busy machine.
_REFRESH_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class DriftMonitor:
    """A running drift monitor."""

    process: ProcessRecord
    port: int

    def refresh(self) -> dict[str, Any]:
        """Evaluate the window that ends now and return the result. Raises `InfrastructureError`."""
        try:
            url = f"http://127.0.0.1:{self.port}/refresh"
            answer = httpx.post(url, timeout=_REFRESH_SECONDS, trust_env=False)
            result: dict[str, Any] = answer.raise_for_status().json()
        except httpx.HTTPError as error:
            raise InfrastructureError(f"the drift monitor does not answer: {error}") from None
        return result

    def stop(self) -> None:
        """End it."""
        stop(self.process, 10)


def start_drift_monitor(reference: Path, prediction_logs: Path, minutes: float, log: Path) -> DriftMonitor:
    """Start a monitor of the last `minutes` of stable's traffic. Raises `InfrastructureError`."""
    environment = server_environment() | {
        "REFERENCE_DATASET_URI": str(reference),
        "CURRENT_DATASET_URI": str(prediction_logs),
        "CURRENT_RANGE_MINUTES": str(minutes),
        "CURRENT_TRACK": "stable",
        # The demo asks for each evaluation itself.
        "DRIFT_EVALUATION_INTERVAL_SECONDS": "3600",
        "DRIFT_ALARM_RUNS": "1",  # each window is judged once
        "HOST": "127.0.0.1",
        "PORT": "0",
        "LOG_FORMAT": "json",
    }
    record = start_detached(python_module("drift"), environment, log)
    try:
        return DriftMonitor(record, _wait_until_listening(record, log))
    except BaseException:  # also Ctrl-C: a monitor that nobody knows of must not stay
        stop(record, 1)
        raise


def _wait_until_listening(record: ProcessRecord, log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and ended(record) is None:
        for text in log.read_bytes().splitlines(keepends=True):
            if b'"listening"' in text and text.endswith(b"\n"):
                return int(json.loads(text)["http_port"])
        time.sleep(0.05)
    raise InfrastructureError(f"the drift monitor did not start; its log is {log}")
