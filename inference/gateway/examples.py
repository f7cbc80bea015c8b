"""A real row of a model with the output it must give, and commands that ask for it.

Names of features are anybody's text: whatever goes into a shell goes through `shlex`, and into Python as a JSON string,
which is a Python string too.
"""

import math
import shlex
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson

from inference.core import DataPlane
from inference.errors import InferenceError
from inference.generation import Generation
from inference.kinds import Kind
from inference.oip.datatypes import BYTES
from inference.oip.description import TensorDescription
from protos.inference.v1.manifest_pb2 import GoldenRow

__all__ = [
    "Addresses",
    "Cell",
    "Example",
    "answer_of",
    "curl",
    "example_of",
    "grpcurl",
    "python",
    "tensor_body",
]

#: The variable that examples read the token from; its value never stands in a page.
TOKEN_VARIABLE: Final = "PREDICT_API_TOKEN"  # noqa: S105  # the name of a variable


#: A number, the text of a category, or None for what is missing.
Cell: TypeAlias = float | str | None


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

    row: dict[str, Cell]
    names: dict[str, str]

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of `/predict`."""
        # An object with one of these alone is a row in the form of the message, not one that names a feature.
        row = [*self.row.values()] if self.row.keys() in ({"values"}, {"cells"}) else self.row
        return {"rows": [row], **self.names}


def example_of(plane: DataPlane, generation: Generation) -> Example:
    """Return a golden row of `generation`."""
    return Example(_row(generation), _names(plane, generation))


def _names(plane: DataPlane, generation: Generation) -> dict[str, str]:
    for names in ({}, {"model_name": generation.name}):
        try:
            if plane.describe(**names) is generation:
                return names
        except InferenceError:  # the model went away meanwhile
            break
    return {"model_name": generation.name, "model_version": generation.version}


def _golden(generation: Generation) -> GoldenRow:
    """Return the first golden row in which nothing is missing, else the first."""
    rows = generation.bundle.manifest.golden_rows
    return next((row for row in rows if not any(map(math.isnan, row.features))), rows[0])


def _row(generation: Generation) -> dict[str, Cell]:
    features = _golden(generation).features
    return {
        kind.name: _cell(kind, number)
        for kind, number in zip(generation.signature.kinds, features, strict=True)
    }


def _cell(kind: Kind, number: float) -> Cell:
    if kind.is_category or math.isnan(number):
        return kind.text_of(number)
    return int(number) if kind.whole else _short(number)


def _short(number: float) -> float:
    """The shortest decimal of the same 32-bit float, which is what the model sees: 5.1, not 5.0999999046."""
    return float(str(np.float32(number)))


def answer_of(generation: Generation) -> dict[str, Any]:
    """Return the prediction that the example gets, in the JSON form of `/predict`."""
    golden = _golden(generation)
    if not generation.classes:
        return {"value": golden.value}
    return {
        "label": generation.classes[golden.class_index],
        "class_index": golden.class_index,
        "probabilities": [_short(share) for share in golden.probabilities],
    }


def tensor_body(example: Example, inputs: Sequence[TensorDescription]) -> dict[str, Any]:
    """Return the JSON body of the Open Inference Protocol for the same row, with the `inputs` of the model."""
    row = [*example.row.values()]
    if len(inputs) == 1 and inputs[0].datatype != BYTES:
        return {"inputs": [{"name": inputs[0].name, "datatype": "FP32", "shape": [1, len(row)], "data": row}]}
    tensors = [
        {"name": each.name, "datatype": each.datatype, "shape": [1], "data": [cell]}
        for each, cell in zip(inputs, row, strict=True)
    ]
    return {"inputs": tensors}


def curl(example: Example, addresses: Addresses) -> str:
    """Return the command that asks over HTTP."""
    token = f' \\\n  -H "Authorization: Bearer ${TOKEN_VARIABLE}"' if addresses.token else ""
    body = shlex.quote(orjson.dumps(example.body).decode())
    url = shlex.quote(f"{addresses.http}/predict")
    return f'curl {url}{token} \\\n  -H "Content-Type: application/json" \\\n  -d {body}'


def grpcurl(example: Example, addresses: Addresses) -> str:
    """Return the command that asks over gRPC."""
    token = f' \\\n  -H "authorization: Bearer ${TOKEN_VARIABLE}"' if addresses.token else ""
    row = [*example.row.values()]
    field = "values" if all(isinstance(cell, float | int) for cell in row) else "cells"
    asked = {"feature_names": [*example.row], "rows": [{field: row}], **example.names}
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
    features = [f"    {_literal(name)}: {_shown(cell)}," for name, cell in example.row.items()]
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


def _shown(cell: Cell) -> str:
    return _literal(cell) if isinstance(cell, str) else repr(cell)


def _literal(text: str) -> str:
    return orjson.dumps(text).decode()
