"""What server and models say of themselves."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

import orjson

from inference.generation import Generation
from inference.oip.outputs import outputs_of
from protos.inference.v1.manifest_pb2 import Task

__all__ = ["EXTENSIONS", "SERVER_NAME", "SERVER_VERSION", "ModelDescription", "TensorDescription", "describe"]

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
    names = generation.signature.names
    task = Task.Name(generation.bundle.manifest.task).removeprefix("TASK_").lower()
    return ModelDescription(
        generation.name,
        tuple(versions),
        f"coalmine_{generation.predictor.runtime}",
        (TensorDescription(INPUT_NAME, "FP32", (-1, len(names))),),
        tuple(TensorDescription(*output) for output in outputs_of(generation)),
        {
            "version": generation.version,
            "digest": generation.digest,
            "track": track,
            "task": task,
            "features": _json(names),
            "classes": _json(generation.classes),
        },
    )


def _json(texts: Sequence[str]) -> str:
    return orjson.dumps(list(texts)).decode()
