"""`ModelInfer` in the form that most clients send: one tensor of FP32 in raw contents, all outputs wanted.

The general way looks at datatype, contents and outputs of each tensor and makes messages for the answer; for one row
that is as much work as the prediction. Here only that is looked at which makes a request plain, and the answer is put
together from bytes (`wire`). What is not plain, or not right, is left to the general way, which has the words for it.
"""

import functools
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from inference.core import Answer
from inference.kinds import Kind
from inference.oip import DATATYPES, InputTensor, raw_elements
from inference.oip.inputs import block_of
from inference.oip.outputs import LABEL, PROBABILITIES, VALUE
from inference.rows import Decoded, RowBlock
from inference.rpc.wire import lengthed, number_of, packed, text
from protos.oip import open_inference_pb2 as pb

__all__ = ["plain_block", "plain_response"]

#: How many beginnings of answers are kept: one for each model, one for each number of rows.
_KEPT: Final = 256
_FP32: Final = np.dtype("<f4")
_FP64: Final = np.dtype("<f8")

_RESPONSE: Final = pb.ModelInferResponse.DESCRIPTOR
_TENSOR: Final = pb.ModelInferResponse.InferOutputTensor.DESCRIPTOR
_ID: Final = number_of(_RESPONSE, "id")
_RAW: Final = number_of(_RESPONSE, "raw_output_contents")


class _Table:
    """Rows in one tensor of FP32 in raw contents; their number and size fit."""

    def __init__(self, tensor: pb.ModelInferRequest.InferInputTensor, data: bytes) -> None:
        self._tensor = tensor
        self._data = data
        self.row_count: int
        self.row_count, self._width = tensor.shape

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        if self._width != column_count:
            return self._in_general().decode(column_count, kinds)
        return Decoded(np.frombuffer(self._data, _FP32).reshape(self.row_count, self._width))

    def place(self, row: int, column: int) -> str:
        return self._in_general().place(row, column)

    def _in_general(self) -> RowBlock:
        elements = raw_elements(self._data, DATATYPES["FP32"], "raw_input_contents[0]")
        return block_of([InputTensor(0, self._tensor.name, tuple(self._tensor.shape), elements)])[0]


def plain_block(request: pb.ModelInferRequest) -> RowBlock | None:
    """Return the rows of a plain request; None when it is not one, or something is wrong with it."""
    raw, inputs = request.raw_input_contents, request.inputs
    if len(raw) != 1 or len(inputs) != 1 or request.outputs:
        return None
    tensor, data = inputs[0], raw[0]
    shape = tensor.shape
    if tensor.datatype != "FP32" or len(shape) != 2 or tensor.HasField("contents"):
        return None
    rows, columns = shape
    if rows < 1 or columns < 1 or len(data) != rows * columns * _FP32.itemsize:
        return None
    return _Table(tensor, data)


def plain_response(answer: Answer, request_id: str) -> bytes:
    """Return `ModelInferResponse` with all outputs of `answer` in raw contents; `request_id` is repeated."""
    generation, (class_index, probabilities, values) = answer.generation, answer.outputs
    head = _model(generation.name, generation.version) + text(_ID, request_id) + _event_id(answer.event_id)
    if class_index is None:
        assert values is not None
        raw = values.astype(_FP64, copy=False).tobytes()
        return head + _value_tensor(len(values)) + lengthed(_RAW, raw)
    assert probabilities is not None
    rows, width = probabilities.shape
    labels = b"".join(map(_texts(generation.classes).__getitem__, class_index.tolist()))
    shares = probabilities.astype(_FP32, copy=False).tobytes()
    return head + _class_tensors(rows, width) + lengthed(_RAW, labels) + lengthed(_RAW, shares)


@functools.lru_cache(_KEPT)
def _model(name: str, version: str) -> bytes:
    return text(number_of(_RESPONSE, "model_name"), name) + text(
        number_of(_RESPONSE, "model_version"), version
    )


_EVENT_KEY: Final = lengthed(1, b"event_id")  # of an entry of a map: the key is field 1, the value field 2
_STRING: Final = number_of(pb.InferParameter.DESCRIPTOR, "string_param")
_PARAMETERS: Final = number_of(_RESPONSE, "parameters")


def _event_id(event_id: str) -> bytes:
    return lengthed(_PARAMETERS, _EVENT_KEY + lengthed(2, lengthed(_STRING, event_id.encode())))


@functools.lru_cache(_KEPT)
def _class_tensors(rows: int, width: int) -> bytes:
    return _tensor(LABEL, "BYTES", (rows,)) + _tensor(PROBABILITIES, "FP32", (rows, width))


@functools.lru_cache(_KEPT)
def _value_tensor(rows: int) -> bytes:
    return _tensor(VALUE, "FP64", (rows,))


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> bytes:
    content = (
        text(number_of(_TENSOR, "name"), name)
        + text(number_of(_TENSOR, "datatype"), datatype)
        + lengthed(number_of(_TENSOR, "shape"), packed(shape))
    )
    return lengthed(number_of(_RESPONSE, "outputs"), content)


@functools.lru_cache(_KEPT)
def _texts(classes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the labels as raw contents have them: each after its length."""
    encoded = (label.encode() for label in classes)
    return tuple(struct.pack("<I", len(label)) + label for label in encoded)
