"""Answers beside scikit-learn's: when a server first gives one, and how many are others."""

import time
from collections.abc import Iterator
from typing import Final

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray

from benchmarks.peers.calls import infer_request
from benchmarks.peers.forest import Forest
from benchmarks.targets import Running
from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["count_differences", "wait_for_answer"]

#: What grpcio would wait up to two minutes for: a port that was not listening at the first look.
_RECONNECT_MS: Final = 20
_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    *((f"grpc.{which}_reconnect_backoff_ms", _RECONNECT_MS) for which in ("initial", "min", "max")),
]
#: The slowest peer takes eight seconds on a quiet machine.
_START_SECONDS: Final = 120
_CALL_SECONDS: Final = 30
_BLOCK: Final = 64
#: Rows that are asked one by one; the others come in blocks.
_SINGLE: Final = 150


def wait_for_answer(server: Running, forest: Forest) -> None:
    """Ask for one row until it is answered. Raises `RuntimeError` when the server ends or takes too long."""
    deadline, told = time.monotonic() + _START_SECONDS, "nothing"
    request = _request(forest.rows[:1])
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=_OPTIONS) as channel:
        stub = GRPCInferenceServiceStub(channel)
        while time.monotonic() < deadline and server.process.poll() is None:
            try:
                stub.ModelInfer(request, timeout=_CALL_SECONDS)
            except grpc.RpcError as error:
                told = f"{error.code().name} {error.details()}"
                time.sleep(_RECONNECT_MS / 1000)
            else:
                return
    raise RuntimeError(f"the server gave no answer: {told}")


def count_differences(server: Running, forest: Forest) -> int:
    """Return for how many rows of `forest` the server predicts another class than scikit-learn."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=_OPTIONS) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answers = [
            _classes(stub.ModelInfer(_request(rows), timeout=_CALL_SECONDS), forest)
            for rows in _blocks(forest.rows)
        ]
    return int(np.count_nonzero(np.concatenate(answers) != forest.expected))


def _blocks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    yield from np.split(rows[:_SINGLE], _SINGLE)
    for start in range(_SINGLE, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _request(rows: NDArray[np.float32]) -> pb.ModelInferRequest:
    return ParseDict(infer_request(rows), pb.ModelInferRequest())


def _classes(response: pb.ModelInferResponse, forest: Forest) -> NDArray[np.int64]:
    """Return the numbers of the classes in the first output: ours gives names, peers numbers."""
    first, raw = response.outputs[0], response.raw_output_contents[0]
    if first.datatype == "INT64":
        return np.frombuffer(raw, "<i8")
    if first.datatype != "BYTES":
        raise RuntimeError(f"expected classes, found the output {first.name} of {first.datatype}")
    return np.array([forest.classes.index(name) for name in _texts(raw)])


def _texts(raw: bytes) -> Iterator[str]:
    """Split raw contents of BYTES: the length of each before it, in four bytes."""
    start = 0
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        yield raw[start + 4 : end].decode()
        start = end
