"""What server and models say of themselves."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

import orjson

from inference.generation import Generation
from inference.kinds import Kind
from inference.oip.datatypes import BYTES
from inference.oip.outputs import outputs_of
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import Task

__all__ = [
    "EXTENSIONS",
    "SERVER_NAME",
    "SERVER_VERSION",
    "ModelDescription",
    "TensorDescription",
    "describe",
    "inputs_of",
]

SERVER_NAME: Final = "coalmine"
#: `binary_tensor_data` is that of HTTP: elements after the JSON, as Triton's clients send them.
EXTENSIONS: Final = ("model_repository", "binary_tensor_data")
#: Any name will do; this is the one that compiled models have inside.
INPUT_NAME: Final = "input"


def _installed_version() -> str:
    try:
        return version("coalmine")
    except PackageNotFoundError:  # run from a directory that was never installed
        return "0.0.0"


SERVER_VERSION: Final = _installed_version()


class TensorDescription(NamedTuple):
    """An input or output; -1 is a size that the request decides."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelDescription(NamedTuple):
    """What one model takes and gives."""

    name: str
    #: Versions and aliases that may be asked for.
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    #: Further facts; lists are JSON.
    properties: dict[str, str]


def describe(generation: Generation, versions: Sequence[str], track: str) -> ModelDescription:
    """Describe the model of `generation`, of which there are `versions`."""
    signature = generation.signature
    task = Task.Name(generation.bundle.manifest.task).removeprefix("TASK_").lower()
    return ModelDescription(
        generation.name,
        tuple(versions),
        f"coalmine_{generation.predictor.runtime}",
        inputs_of(signature),
        tuple(TensorDescription(*output) for output in outputs_of(generation)),
        {
            "version": generation.version,
            "digest": generation.digest,
            "track": track,
            "task": task,
            "features": _json(signature.names),
            "classes": _json(generation.classes),
            **_categories(signature),
        },
    )


def inputs_of(signature: Signature) -> tuple[TensorDescription, ...]:
    """Describe the inputs: one matrix of numbers, or each feature of a model with texts, which no matrix holds."""
    if not any(kind.is_category for kind in signature.kinds):
        return (TensorDescription(INPUT_NAME, "FP32", (-1, len(signature.names))),)
    return tuple(TensorDescription(kind.name, _datatype(kind), (-1,)) for kind in signature.kinds)


def _datatype(kind: Kind) -> str:
    if kind.is_category:
        return BYTES
    # Whole numbers have no nan for what is missing.
    return "INT64" if kind.whole and not kind.nullable else "FP32"


def _categories(signature: Signature) -> dict[str, str]:
    found = {kind.name: kind.categories for kind in signature.kinds if kind.is_category}
    return {"categories": orjson.dumps(found).decode()} if found else {}


def _json(texts: Sequence[str]) -> str:
    return orjson.dumps(list(texts)).decode()
