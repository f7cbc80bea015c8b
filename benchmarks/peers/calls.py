"""The calls that are measured: ModelInfer, which every server here knows, and our own Predict."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import load
from benchmarks.load import Case, Measured, Method

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
    method: Method
    request: Callable[[Rows], dict[str, Any]]


MODEL_INFER: Final = Call(
    "ModelInfer",
    Method("protos/oip/open_inference.proto", "inference.GRPCInferenceService.ModelInfer"),
    infer_request,
)
PREDICT: Final = Call("Predict", load.PREDICT, _predict_request)


def offer(port: int, call: Call, shape: Shape, rows: Rows, seconds: float) -> Measured:
    """Ask as fast as answers come, for `seconds`. Raises `RuntimeError` when a call fails."""
    case = Case(shape.name, shape.callers, shape.connections, call.request(rows[: shape.rows]))
    return load.offer(port, case, seconds, call.method, all_answered=True)
