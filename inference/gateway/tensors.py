"""Tensors of the Open Inference Protocol in JSON, with or without their elements as bytes after it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from inference.gateway.elements import json_elements
from inference.gateway.json_fields import UNLIMITED, invalid, json_of, list_of, object_of, text_of
from inference.oip import (
    Datatype,
    Elements,
    InputTensor,
    OutputTensor,
    RequestedOutput,
    input_tensor,
    raw_elements,
    raw_of,
    read_each,
)
from inference.rows import quoted

__all__ = ["Inference", "read_inference", "written_outputs"]

#: Parameter with the number of bytes that an input or output takes after the JSON.
_BINARY_SIZE: Final = "binary_data_size"
#: Digits of the largest number of bytes, 2^63; of far more digits Python makes no number at all.
_MAX_DIGITS: Final = 19
#: Outputs that are looked at one by one; a model has two at the most. How many inputs there may be, `expect` says
#: by the model before they are looked at.
_MAX_OUTPUTS: Final = 1024
#: Inner lists that one row may have: data of [rows, 1] in lists of one element, for each of so many features.
_LISTS_A_ROW: Final = 16


class Inference:
    """A request, its JSON read; the tensors are decoded when they are asked for."""

    def __init__(self, content: Mapping[str, Any], binary: bytes) -> None:
        self._content = content
        self._binary = binary
        self.id: Final = text_of(content.get("id", ""), "id")

    @property
    def input_count(self) -> int:
        """Number of inputs."""
        return len(list_of(self._content.get("inputs"), "inputs"))

    @property
    def outputs(self) -> list[RequestedOutput]:
        """The outputs that are asked for."""
        return [
            RequestedOutput(
                text_of(output.get("name"), f"{place}.name"), frozenset(_parameters(output, place))
            )
            for output, place in self._each("outputs")
        ]

    @property
    def binary_outputs(self) -> frozenset[str] | None:
        """Names of the outputs to be sent as bytes; None means all."""
        every = _parameters(self._content, "body").get("binary_data_output") is True
        asked = self._each("outputs")
        if every and not asked:
            return None
        return frozenset(
            text_of(output.get("name"), f"{place}.name")
            for output, place in asked
            if _parameters(output, place).get("binary_data", every) is True
        )

    def inputs(self) -> list[InputTensor]:
        """Return the inputs. Raises `InvalidRequestError`."""
        tensors = [*self._each("inputs")]
        offsets = self._offsets(tensors)

        def read(index: int) -> InputTensor:
            tensor, place = tensors[index]
            shape = _shape(tensor.get("shape"), place)

            def elements_of(datatype: Datatype) -> Elements:
                found = offsets[index]
                if found is None:
                    return json_elements(
                        list_of(tensor.get("data"), f"{place}.data"), shape, datatype, f"{place}.data"
                    )
                if "data" in tensor:
                    raise invalid(f"{place}.data", f"found data beside {_BINARY_SIZE}, expected one of them")
                return raw_elements(self._binary[found[0] : found[1]], datatype, f"{place}.binary_data")

            name = text_of(tensor.get("name"), f"{place}.name")
            return input_tensor(index, name, tensor.get("datatype"), shape, elements_of)

        return read_each(len(tensors), read)

    def _offsets(self, tensors: Sequence[tuple[Mapping[str, Any], str]]) -> list[tuple[int, int] | None]:
        offsets: list[tuple[int, int] | None] = []
        at = 0
        for tensor, place in tensors:
            size = _parameters(tensor, place).get(_BINARY_SIZE)
            if size is None:
                offsets.append(None)
                continue
            if type(size) is not int or not 0 <= size <= len(self._binary) - at:
                expected = f"expected a number of bytes up to {len(self._binary) - at}, as many as are left"
                raise invalid(f"{place}.parameters.{_BINARY_SIZE}", f"found {quoted(size)}, {expected}")
            offsets.append((at, at + size))
            at += size
        if at != len(self._binary):
            raise invalid("body", f"has {len(self._binary) - at} bytes after the JSON that no input takes")
        return offsets

    def _each(self, field: str) -> list[tuple[Mapping[str, Any], str]]:
        found = list_of(self._content.get(field, []), field)
        if field == "outputs" and len(found) > _MAX_OUTPUTS:
            raise invalid(field, f"found {len(found)}, expected at most {_MAX_OUTPUTS}")
        return [
            (object_of(tensor, f"{field}[{index}]"), f"{field}[{index}]")
            for index, tensor in enumerate(found)
        ]


def read_inference(body: bytes, header_length: str | None, *, max_rows: int = UNLIMITED) -> Inference:
    """Read a request; `header_length` says how many of its bytes are JSON.

    Raises `InvalidRequestError`, and `OverloadError` for more objects than `max_rows` can need.
    """
    length = len(body)
    if header_length is not None:
        readable = header_length.isdecimal() and len(header_length) <= _MAX_DIGITS
        if not readable or int(header_length) > length:
            found = f"found {quoted(header_length)}, expected a number up to {length}, the length of the body"
            raise invalid("Inference-Header-Content-Length", found)
        length = int(header_length)
    try:
        content = json_of(body[:length], objects=max_rows, lists=max_rows * _LISTS_A_ROW)
    except orjson.JSONDecodeError as error:
        raise invalid("body", _not_json(error)) from None
    return Inference(object_of(content, "body"), body[length:])


def written_outputs(
    tensors: Sequence[OutputTensor], binary: frozenset[str] | None
) -> tuple[list[dict[str, object]], bytes]:
    """Return the outputs as JSON, and the bytes that follow it for those in `binary`; None means all."""
    written: list[dict[str, object]] = []
    after = []
    for tensor in tensors:
        output: dict[str, object] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if binary is None or tensor.name in binary:
            after.append(raw_of(tensor))
            output["parameters"] = {_BINARY_SIZE: len(after[-1])}
        else:
            values = tensor.values
            output["data"] = values if isinstance(values, list) else np.ascontiguousarray(values).ravel()
        written.append(output)
    return written, b"".join(after)


def _not_json(error: orjson.JSONDecodeError) -> str:
    if error.doc[error.pos :].lstrip("-").startswith(("NaN", "Inf")):
        return f"found nan or infinity (character {error.pos}), which JSON has no word for and no model takes"
    return f"is not JSON: {error}"


def _shape(value: object, place: str) -> list[int]:
    shape = list_of(value, f"{place}.shape")
    if not all(type(size) is int for size in shape):
        raise invalid(f"{place}.shape", "expected a list of whole numbers")
    return shape


def _parameters(holder: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    return object_of(holder.get("parameters", {}), f"{place}.parameters")
