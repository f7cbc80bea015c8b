"""Answers to output tensors, all of them or those that were asked for."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.core import Answer
from inference.errors import InvalidRequestError, Violation
from inference.generation import Generation
from inference.oip.datatypes import BYTES, DATATYPES
from inference.rows import MAX_VIOLATIONS, quoted
from protos.inference.v1.manifest_pb2 import TASK_REGRESSION

__all__ = ["OutputTensor", "RequestedOutput", "check_outputs", "output_tensors", "outputs_of", "raw_of"]

LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
VALUE: Final = "value"
#: Parameters of a requested output that change what it is, and would be ignored silently.
_REFUSED_PARAMETERS: Final = {
    "classification": "not offered; the output `probabilities` has the share of every class",
    "shared_memory_region": "not offered; outputs come in the response",
}


class RequestedOutput(NamedTuple):
    """One output that a request asks for."""

    name: str
    #: The names of its parameters.
    parameters: frozenset[str] = frozenset()


class OutputTensor(NamedTuple):
    """One output; `values` are texts exactly when the datatype is BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: "NDArray[Any] | list[str]"


def outputs_of(generation: Generation) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, datatype and shape of each output; -1 stands for the number of rows."""
    manifest = generation.bundle.manifest
    if manifest.task == TASK_REGRESSION:
        return [(VALUE, "FP64", (-1,))]
    return [(LABEL, BYTES, (-1,)), (PROBABILITIES, "FP32", (-1, len(generation.classes)))]


def check_outputs(asked: Iterable[RequestedOutput], names: Sequence[str]) -> None:
    """Raise `InvalidRequestError` unless every output that is asked for is among `names`, and plain."""
    violations: list[Violation] = []
    seen: dict[str, int] = {}
    for index, output in enumerate(asked):
        place = f"outputs[{index}]"
        if output.name not in names:
            expected = f"expected one of {', '.join(names)}"
            violations.append(Violation(f"{place}.name", f"found {quoted(output.name)}, {expected}"))
        elif seen.setdefault(output.name, index) != index:
            again = f"found {quoted(output.name)} again, it is outputs[{seen[output.name]}].name too"
            violations.append(Violation(f"{place}.name", again))
        violations += [
            Violation(f"{place}.parameters.{refused}", _REFUSED_PARAMETERS[refused])
            for refused in sorted(_REFUSED_PARAMETERS.keys() & output.parameters)
        ]
        if len(violations) >= MAX_VIOLATIONS:
            break
    if violations:
        raise InvalidRequestError(violations[:MAX_VIOLATIONS])


def output_tensors(answer: Answer, asked: Sequence[RequestedOutput]) -> list[OutputTensor]:
    """Return the outputs of `answer` that are asked for, in that order; all when none is.

    Raises `InvalidRequestError`.
    """
    tensors = {tensor.name: tensor for tensor in _all(answer)}
    if not asked:
        return [*tensors.values()]
    check_outputs(asked, [*tensors])
    return [tensors[output.name] for output in asked]


def _all(answer: Answer) -> list[OutputTensor]:
    outputs, classes = answer.outputs, answer.generation.classes
    if outputs.class_index is None:
        assert outputs.values is not None
        return [OutputTensor(VALUE, "FP64", outputs.values.shape, outputs.values)]
    labels = [classes[index] for index in outputs.class_index.tolist()]
    shares = outputs.probabilities
    assert shares is not None
    return [
        OutputTensor(LABEL, BYTES, (len(labels),), labels),
        OutputTensor(PROBABILITIES, "FP32", shares.shape, shares),
    ]


def raw_of(tensor: OutputTensor) -> bytes:
    """Return the elements as raw contents have them: little-endian, and texts after their lengths."""
    if isinstance(tensor.values, list):
        texts = [text.encode() for text in tensor.values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.ascontiguousarray(tensor.values, DATATYPES[tensor.datatype].raw).tobytes()
