"""Tensors of the protocol in plain Python: elements for any datatype and shape, in both wire forms and back."""

import math
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from protos.oip import open_inference_pb2 as oip

__all__ = [
    "DATATYPES",
    "Tensor",
    "element_count",
    "fits",
    "outputs_of",
    "raw_of",
    "read_raw",
    "typed_of",
    "valid",
]

#: Each datatype of the protocol: its field of typed contents ("" when it has none) and its form in `struct`.
#: https://github.com/kserve/open-inference-protocol, "Tensor Data Types"; BF16 is an extension of Triton's.
DATATYPES: Final[dict[str, tuple[str, str]]] = {
    "BOOL": ("bool_contents", "?"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "FP16": ("", "e"),
    "BF16": ("", "H"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}
#: Elements count up to here and begin again: small whole numbers are valid in every datatype and most models.
_LARGEST_ELEMENT: Final = 7


class Tensor(NamedTuple):
    """A tensor with its elements in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: tuple[Any, ...]


def element_count(shape: Sequence[int]) -> int:
    """Return how many elements a tensor of this shape has."""
    return math.prod(shape)


def valid(name: str, datatype: str, shape: Sequence[int], texts: Sequence[str] = ()) -> Tensor:
    """Return a tensor with elements that are valid in `datatype`; `texts` are those that BYTES may be."""
    count = element_count(shape)
    if texts and datatype == "BYTES":
        known = [text.encode() for text in texts]
        return Tensor(
            name, datatype, tuple(shape), tuple(known[index % len(known)] for index in range(count))
        )
    numbers = [1 + index % _LARGEST_ELEMENT for index in range(count)]
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), tuple(str(number).encode() for number in numbers))
    if datatype == "BOOL":
        return Tensor(name, datatype, tuple(shape), tuple(number % 2 == 1 for number in numbers))
    if datatype == "BF16":  # the upper half of a 32-bit float
        halves = [struct.unpack("<HH", struct.pack("<f", number))[1] for number in numbers]
        return Tensor(name, datatype, tuple(shape), tuple(halves))
    return Tensor(name, datatype, tuple(shape), tuple(numbers))


def typed_of(tensor: Tensor) -> oip.InferTensorContents:
    """Return the elements as typed contents. Raises `ValueError` for a datatype that has none."""
    field, _ = DATATYPES[tensor.datatype]
    if not field:
        raise ValueError(f"{tensor.datatype} has no typed contents")
    return oip.InferTensorContents(**{field: tensor.elements})


def raw_of(tensor: Tensor) -> bytes:
    """Return the elements as little-endian bytes; texts have their length in 4 bytes before them."""
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in tensor.elements)
    return struct.pack(f"<{len(tensor.elements)}{DATATYPES[tensor.datatype][1]}", *tensor.elements)


def read_raw(datatype: str, content: bytes) -> tuple[Any, ...]:
    """Return the elements of raw contents. Raises `ValueError` for bytes that are none."""
    if datatype == "BYTES":
        return tuple(_texts(content))
    form = DATATYPES[datatype][1]
    if len(content) % struct.calcsize(f"<{form}"):
        raise ValueError(f"{len(content)} bytes are no whole number of {datatype}")
    return struct.unpack(f"<{len(content) // struct.calcsize(f'<{form}')}{form}", content)


def _texts(content: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(content):
        if place + 4 > len(content):
            raise ValueError("a length of 4 bytes is cut off")
        (length,) = struct.unpack_from("<I", content, place)
        if place + 4 + length > len(content):
            raise ValueError("a text is cut off")
        found.append(content[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def outputs_of(response: oip.ModelInferResponse) -> list[Tensor]:
    """Return the outputs of a response, whichever form they have. Raises `ValueError` for what is no tensor."""
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise ValueError(f"{len(response.outputs)} outputs have {len(raw)} raw contents")
    found = []
    for index, output in enumerate(response.outputs):
        if output.datatype not in DATATYPES:
            raise ValueError(f"output {output.name} has the unknown datatype {output.datatype!r}")
        field = DATATYPES[output.datatype][0]
        if raw:
            elements = read_raw(output.datatype, raw[index])
        elif field:
            elements = tuple(getattr(output.contents, field))
        else:
            raise ValueError(f"output {output.name} is {output.datatype}, which only raw contents can hold")
        if len(elements) != element_count(output.shape):
            shape = list(output.shape)
            raise ValueError(f"output {output.name} of shape {shape} has {len(elements)} elements")
        found.append(Tensor(output.name, output.datatype, tuple(output.shape), elements))
    return found


def fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    """Tell whether `shape` is one that metadata promise; -1 there stands for any size."""
    return len(shape) == len(pattern) and all(
        wanted in (found, -1) for found, wanted in zip(shape, pattern, strict=True)
    )
