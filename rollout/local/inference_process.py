"""One inference server of the stack: start it, wait until it serves, ask it, stop it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict

from inference.client import PredictionClient, PredictionError
from protos.inference.v1.manifest_pb2 import Task
from rollout.driver import CanaryRefusedError, ServedModel
from rollout.errors import InfrastructureError, RolloutError, UsageError
from rollout.local.envoy_config import Upstream
from rollout.local.processes import (
    ProcessRecord,
    ended,
    python_module,
    server_environment,
    start_detached,
    stop,
)

__all__ = ["InferenceProcess", "ServerOptions", "start_inference"]

_HOST: Final = "127.0.0.1"

#: Long enough for a server to fetch a model from a slow registry and to warm up.
_START_SECONDS: Final = 120.0

#: Drain delay of a local server: Envoy probes twice a second and needs two failed probes.
_DRAIN_SECONDS: Final = 1.5

#: How long a server may take to end: drain delay, calls in flight, last events.
_STOP_SECONDS: Final = 20.0


class ServerOptions(BaseModel):
    """What every server of one stack is started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracking_uri: str
    cache_dir: str
    admin_token: str


class InferenceProcess(BaseModel):
    """A running inference server, as the stack records it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: ProcessRecord
    track: str
    model_uri: str
    grpc_port: int
    http_port: int
    log: str

    @property
    def name(self) -> str:
        """What people call it."""
        return self.track

    @property
    def upstream(self) -> Upstream:
        """The address that Envoy sends calls to."""
        return Upstream(_HOST, self.grpc_port)

    @property
    def address(self) -> str:
        """The gRPC address for direct calls, past Envoy."""
        return f"{_HOST}:{self.grpc_port}"

    def served_model(self) -> ServedModel:
        """Ask the server what it serves. Raises `InfrastructureError`."""
        try:
            with PredictionClient(self.address) as client:
                model = client.get_model()
        except PredictionError as error:
            raise self._silent(error.message) from None
        classifies = model.manifest.task == Task.TASK_CLASSIFICATION
        return ServedModel(model.manifest.name, model.model_version, model.model_digest, classifies)

    def accuracy(self) -> float | None:
        """Read the gauge `ml_model_accuracy`, None when it is not exported. Raises `InfrastructureError`."""
        try:
            url = f"http://{_HOST}:{self.http_port}/metrics"
            text = httpx.get(url, timeout=5, trust_env=False).raise_for_status().text
        except httpx.HTTPError as error:
            raise self._silent(str(error)) from None
        for family in text_string_to_metric_families(text):
            if family.name == "ml_model_accuracy" and family.samples:
                return float(family.samples[0].value)
        return None

    def reload(self, model_uri: str, token: str) -> None:
        """Make the server swap to `model_uri`. Raises `InfrastructureError` when it keeps what it has."""
        try:
            answer = httpx.post(
                f"http://{_HOST}:{self.http_port}/admin/reload",
                json={"model_uri": model_uri},
                headers={"X-Admin-Token": token},
                timeout=_START_SECONDS,
                trust_env=False,  # a proxy has no business with this machine's own servers, nor with the token
            )
        except httpx.HTTPError as error:
            raise self._silent(str(error)) from None
        if not answer.is_success:
            raise InfrastructureError(
                f"the {self.track} server keeps the model that it has instead of {model_uri}: "
                f"{_reason(answer)}"
            )

    def stop(self) -> None:
        """End the server, giving it time to drain."""
        stop(self.process, _STOP_SECONDS)

    def _silent(self, reason: str) -> InfrastructureError:
        if self.process.find() is None:
            return self.ended_error()
        return InfrastructureError(
            f"the {self.track} server at {self.address} (process {self.process.pid}, which runs) does not "
            f"answer: {reason}; its log is {self.log}"
        )

    def ended_error(self) -> InfrastructureError:
        """Return what to say, and to do, when the process has ended."""
        way_out = "; `invoke stack-down` then `invoke stack-up` starts the stack again"
        return InfrastructureError(
            f"the {self.track} server at {self.address} (process {self.process.pid}) has ended; its log is "
            f"{self.log}{way_out if self.track == 'stable' else ''}"
        )


def start_inference(
    track: str,
    model_uri: str,
    options: ServerOptions,
    log: Path,
    *,
    grpc_port: int = 0,
    http_port: int = 0,
    on_start: Callable[[ProcessRecord], None] = lambda _process: None,
) -> InferenceProcess:
    """Start a server for `model_uri` and return once it serves; `on_start` learns of it before that.

    Raises `CanaryRefusedError` when the server refused the model, `UsageError` when it found the settings
    wrong, and `InfrastructureError` for the rest; nothing is left running then.
    """
    environment = server_environment() | {
        "MODEL_SOURCE": "mlflow",
        "MODEL_URI": model_uri,
        "MLFLOW_TRACKING_URI": options.tracking_uri,
        "MODEL_CACHE_DIR": options.cache_dir,
        "ADMIN_API_TOKEN": options.admin_token,
        "DEPLOYMENT_TRACK": track,
        "GRPC_HOST": _HOST,
        "HTTP_HOST": _HOST,
        "GRPC_PORT": str(grpc_port),
        "HTTP_PORT": str(http_port),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "INFO",  # the ports and the prediction log are lines of that level
        "DRAIN_DELAY_SECONDS": str(_DRAIN_SECONDS),
    }
    record = start_detached(python_module("inference"), environment, log, on_start=on_start)
    try:
        ports = _wait_until_serving(record, track, log)
    except BaseException:  # also Ctrl-C: a server that nobody knows of must not stay
        stop(record, 5)
        raise
    return InferenceProcess(
        process=record,
        track=track,
        model_uri=model_uri,
        grpc_port=ports["grpc_port"],
        http_port=ports["http_port"],
        log=str(log),
    )


def _wait_until_serving(record: ProcessRecord, track: str, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        lines = _read_lines(log)
        if any(line.get("message") == "serving" for line in lines):
            return next(line for line in lines if line.get("message") == "listening")
        code = ended(record)
        if code is not None:
            raise _start_error(track, code, _read_lines(log), log)
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"the {track} server did not serve within {_START_SECONDS:g} s; its log is {log}"
            )
        time.sleep(0.02)


def _start_error(track: str, code: int, lines: list[dict[str, Any]], log: Path) -> RolloutError:
    errors = [str(line["message"]) for line in lines if line.get("level") in ("ERROR", "CRITICAL")]
    reason = errors[-1] if errors else f"it ended with exit code {code}"
    sentence = f"the {track} server did not start: {reason} (log: {log})"
    kinds: dict[int, type[RolloutError]] = {1: CanaryRefusedError, 2: UsageError}
    return kinds.get(code, InfrastructureError)(sentence)


def _read_lines(log: Path) -> list[dict[str, Any]]:
    lines = []
    for text in log.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _reason(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
