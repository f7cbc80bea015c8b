"""The calls that are measured: ModelInfer, which every server here knows, and our own Predict."""

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import Measured, find_ghz
from benchmarks.targets import LOAD_CORE, ROOT, pinned

__all__ = ["MODEL_INFER", "PREDICT", "SHAPES", "Call", "Shape", "infer_request", "offer"]

#: The name under which every server has the model.
_MODEL: Final = "iris"
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """How many ask at one time over how many connections, for how many rows each."""

    callers: int
    connections: int
    rows: int

    @property
    def name(self) -> str:
        """As it stands over a column."""
        return f"{self.rows} row{'s' * (self.rows > 1)}, c = {self.callers}"


#: 32 callers have 4 connections, as callers in several processes would.
SHAPES: Final = tuple(
    Shape(callers, connections, rows)
    for rows in (1, 64)
    for callers, connections in ((1, 1), (8, 1), (32, 4))
)


def infer_request(rows: Rows) -> dict[str, Any]:
    """Return a ModelInferRequest as JSON, in raw contents: what Triton's client sends, the cheapest for most."""
    tensor = {"name": "input", "datatype": "FP32", "shape": list(rows.shape)}
    return {"model_name": _MODEL, "inputs": [tensor], "raw_input_contents": [_encoded(rows)]}


def _predict_request(rows: Rows) -> dict[str, Any]:
    """Return a PredictRequest as JSON: a row as people write it, many as one block."""
    if len(rows) == 1:
        return {"rows": [{"values": [round(float(value), 6) for value in rows[0]]}]}
    count, columns = rows.shape
    return {"tensor": {"row_count": count, "column_count": columns, "float32_values": _encoded(rows)}}


def _encoded(rows: Rows) -> str:
    return base64.b64encode(rows.astype("<f4").tobytes()).decode()


@dataclass(frozen=True)
class Call:
    """A method, and how it is asked."""

    name: str
    proto: str
    method: str
    request: Callable[[Rows], dict[str, Any]]


MODEL_INFER: Final = Call(
    "ModelInfer",
    "protos/oip/open_inference.proto",
    "inference.GRPCInferenceService.ModelInfer",
    infer_request,
)
PREDICT: Final = Call(
    "Predict",
    "protos/inference/v1/inference.proto",
    "inference.v1.InferenceService.Predict",
    _predict_request,
)


def offer(port: int, call: Call, shape: Shape, rows: Rows, seconds: float) -> Measured:
    """Ask as fast as answers come, for `seconds`. Raises `RuntimeError` when a call fails."""
    request = json.dumps(call.request(rows[: shape.rows]))
    ended = subprocess.run(
        pinned(LOAD_CORE, *_command(port, call, shape, request, seconds)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if ended.returncode:
        raise RuntimeError(f"ghz failed: {ended.stderr.strip()}")
    found = json.loads(ended.stdout)
    answered = found["statusCodeDistribution"].get("OK", 0)
    if answered < found["count"] or not answered:
        raise RuntimeError(
            f"{call.name} failed: {found['statusCodeDistribution']}, {found['errorDistribution']}"
        )
    latency = {entry["percentage"]: entry["latency"] / 1e6 for entry in found["latencyDistribution"]}
    return Measured(found["rps"], answered, 0, latency[50], latency[99])


def _command(port: int, call: Call, shape: Shape, request: str, seconds: float) -> list[str]:
    return [
        find_ghz(), "--insecure", "--import-paths", str(ROOT), "--proto", str(ROOT / call.proto),
        "--call", call.method, "--data", request, "--concurrency", str(shape.callers),
        "--connections", str(shape.connections), "--duration", f"{seconds}s", "--duration-stop", "wait",
        "--format", "json", f"127.0.0.1:{port}",
    ]  # fmt: skip
