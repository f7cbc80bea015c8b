"""A real row of a model with the output it must give, and commands that ask for it.

Names of features are anybody's text: whatever goes into a shell goes through `shlex`, and into Python as a JSON string,
which is a Python string too.
"""

import shlex
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from inference.core import DataPlane
from inference.errors import InferenceError
from inference.generation import Generation
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_INTEGER

__all__ = ["Addresses", "Example", "answer_of", "curl", "example_of", "grpcurl", "python", "tensor_body"]

#: The variable that examples read the token from; its value never stands in a page.
TOKEN_VARIABLE: Final = "PREDICT_API_TOKEN"  # noqa: S105  # the name of a variable


class Addresses(NamedTuple):
    """Where the caller reaches this server, as far as can be known from the request."""

    http: str
    grpc: str
    #: Whether gRPC is encrypted.
    tls: bool
    #: Whether predictions ask for a token.
    token: bool


class Example(NamedTuple):
    """One golden row by feature name, and what a request must name so that this model answers."""

    row: dict[str, float]
    names: dict[str, str]

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of `/predict`."""
        # An object with `values` alone is a row in the form of the message, not one that names a feature.
        row = [*self.row.values()] if self.row.keys() == {"values"} else self.row
        return {"rows": [row], **self.names}


def example_of(plane: DataPlane, generation: Generation) -> Example:
    """Return the first golden row of `generation`."""
    return Example(_row(generation), _names(plane, generation))


def _names(plane: DataPlane, generation: Generation) -> dict[str, str]:
    for names in ({}, {"model_name": generation.name}):
        try:
            if plane.describe(**names) is generation:
                return names
        except InferenceError:  # the model went away meanwhile
            break
    return {"model_name": generation.name, "model_version": generation.version}


def _row(generation: Generation) -> dict[str, float]:
    manifest = generation.bundle.manifest
    return {
        feature.name: int(number) if feature.type == FEATURE_TYPE_INTEGER else _short(number)
        for feature, number in zip(manifest.features, manifest.golden_rows[0].features, strict=True)
    }


def _short(number: float) -> float:
    """The shortest decimal of the same 32-bit float, which is what the model sees: 5.1, not 5.0999999046."""
    return float(str(np.float32(number)))


def answer_of(generation: Generation) -> dict[str, Any]:
    """Return the prediction that the example gets, in the JSON form of `/predict`."""
    golden = generation.bundle.manifest.golden_rows[0]
    if not generation.classes:
        return {"value": golden.value}
    label = {"label": generation.classes[golden.class_index], "class_index": golden.class_index}
    shares = [_short(share) for share in golden.probabilities]
    return {**label, "probabilities": shares} if shares else label


def tensor_body(example: Example) -> dict[str, Any]:
    """Return the JSON body of the Open Inference Protocol for the same row."""
    row = [*example.row.values()]
    return {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}


def curl(example: Example, addresses: Addresses) -> str:
    """Return the command that asks over HTTP."""
    token = f' \\\n  -H "Authorization: Bearer ${TOKEN_VARIABLE}"' if addresses.token else ""
    body = shlex.quote(orjson.dumps(example.body).decode())
    url = shlex.quote(f"{addresses.http}/predict")
    return f'curl {url}{token} \\\n  -H "Content-Type: application/json" \\\n  -d {body}'


def grpcurl(example: Example, addresses: Addresses) -> str:
    """Return the command that asks over gRPC."""
    token = f' \\\n  -H "authorization: Bearer ${TOKEN_VARIABLE}"' if addresses.token else ""
    asked = {"feature_names": [*example.row], "rows": [{"values": [*example.row.values()]}], **example.names}
    body = shlex.quote(orjson.dumps(asked).decode())
    plain = "" if addresses.tls else " -plaintext"
    return (
        f"grpcurl{plain}{token} \\\n  -d {body} \\\n"
        f"  {shlex.quote(addresses.grpc)} inference.v1.InferenceService/Predict"
    )


def python(example: Example, addresses: Addresses, *, classifies: bool) -> str:
    """Return the script that asks by our own client."""
    shown = "answer.labels, answer.probabilities" if classifies else "answer.values"
    imports = ["import os", ""] if addresses.token else []
    named = "PredictionClient, TlsFiles" if addresses.tls else "PredictionClient"
    options = ["tls=TlsFiles()"] if addresses.tls else []
    options += [f'token=os.environ["{TOKEN_VARIABLE}"]'] if addresses.token else []
    connection = ", ".join([_literal(addresses.grpc), *options])
    asked = "".join(f", {key}={_literal(value)}" for key, value in example.names.items())
    features = [f"    {_literal(name)}: {number!r}," for name, number in example.row.items()]
    lines = [
        *imports,
        f"from inference.client import {named}",
        "",
        "row = {",
        *features,
        "}",
        f"with PredictionClient({connection}) as client:",
        f"    answer = client.predict([row]{asked})",
        f"    print({shown})",
    ]
    return "\n".join(lines)


def _literal(text: str) -> str:
    return orjson.dumps(text).decode()
