"""Tensors of the Open Inference Protocol: messages to inputs, and outputs to messages."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from inference.errors import InvalidRequestError, Violation
from inference.kinds import Kind
from inference.oip import (
    BYTES,
    Datatype,
    Elements,
    InputTensor,
    OutputTensor,
    RequestedOutput,
    Texts,
    input_tensor,
    miscounted,
    out_of_bounds,
    raw_elements,
    raw_of,
    read_each,
)
from inference.rows import Decoded
from protos.oip import open_inference_pb2 as pb

__all__ = ["add_outputs", "inputs_of", "requested_outputs"]

#: The field of typed contents by datatype; FP16 and BF16 have none.
_FIELDS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


class _Typed:
    """Numbers in a field of `contents`."""

    def __init__(self, values: Sequence[Any], datatype: Datatype, place: str) -> None:
        self._values = values
        self._datatype = datatype
        self._place = place

    def mismatch(self, count: int) -> Violation | None:
        return miscounted(len(self._values), count, self._place)

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:  # noqa: ARG002  # only numbers
        datatype = self._datatype
        if datatype.name in ("FP32", "FP64"):
            return Decoded(np.fromiter(self._values, datatype.raw, count))
        # Wider than the datatype, as the field is: what does not fit is told, not wrapped around.
        wide = np.uint64 if datatype.name == "UINT64" else np.int64
        elements = np.fromiter(self._values, wide, count)
        return Decoded(elements.astype(np.float64), out_of_bounds(elements, datatype, self.place))

    def place(self, index: int) -> str:
        return f"{self._place}[{index}]"


def inputs_of(request: pb.ModelInferRequest) -> list[InputTensor]:
    """Return the inputs of `request`. Raises `InvalidRequestError`."""
    raw, inputs = request.raw_input_contents, request.inputs
    if raw and len(raw) != len(inputs):
        found = f"found {len(raw)}, expected {len(inputs)}, one for each input"
        raise InvalidRequestError([Violation("raw_input_contents", found)])

    def read(index: int) -> InputTensor:
        tensor = inputs[index]

        def elements_of(datatype: Datatype) -> Elements:
            if raw:
                _refuse_typed(tensor, index)
                return raw_elements(raw[index], datatype, f"raw_input_contents[{index}]")
            return _typed_elements(tensor, datatype, f"inputs[{index}].contents")

        return input_tensor(index, tensor.name, tensor.datatype, tensor.shape, elements_of)

    return read_each(len(inputs), read)


def requested_outputs(request: pb.ModelInferRequest) -> list[RequestedOutput]:
    """Return the outputs that `request` asks for."""
    return [RequestedOutput(output.name, frozenset(output.parameters)) for output in request.outputs]


def add_outputs(response: pb.ModelInferResponse, tensors: Sequence[OutputTensor], *, raw: bool) -> None:
    """Add the outputs to `response`, as raw or as typed contents."""
    for tensor in tensors:
        added = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            response.raw_output_contents.append(raw_of(tensor))
        elif isinstance(tensor.values, list):
            added.contents.bytes_contents.extend(text.encode() for text in tensor.values)
        else:
            getattr(added.contents, _FIELDS[tensor.datatype]).extend(tensor.values.ravel().tolist())


def _typed_elements(
    tensor: pb.ModelInferRequest.InferInputTensor, datatype: Datatype, place: str
) -> Elements:
    field = _FIELDS.get(datatype.name)
    if field is None:
        expected = f"{datatype.name} has no field there; send raw_input_contents"
        raise InvalidRequestError([Violation(place, expected)])
    filled = _filled(tensor)
    others = [name for name in filled if name != field]
    if others:
        found = f"found elements, expected them in {field} ({datatype.name})"
        raise InvalidRequestError([Violation(f"{place}.{other}", found) for other in others])
    if not filled:
        expected = f"found none, expected elements in {field} ({datatype.name}), or raw_input_contents"
        raise InvalidRequestError([Violation(place, expected)])
    values = getattr(tensor.contents, field)
    if datatype.raw is None:
        return Texts(values, f"{place}.{field}")
    return _Typed(values, datatype, f"{place}.{field}")


def _refuse_typed(tensor: pb.ModelInferRequest.InferInputTensor, index: int) -> None:
    filled = _filled(tensor)
    if filled:
        found = "found typed contents beside raw_input_contents, expected one of them"
        raise InvalidRequestError([Violation(f"inputs[{index}].contents.{filled[0]}", found)])


def _filled(tensor: pb.ModelInferRequest.InferInputTensor) -> list[str]:
    return [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
