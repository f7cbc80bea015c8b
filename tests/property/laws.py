"""Laws over the decoders of requests, each a function of bytes: property tests and fuzz targets check them both.

Each function returns what became of the bytes, and raises when a law does not hold: rows become a matrix of 32-bit
floats, finite but for what may be missing, or an error that the caller can act on, short, about a place that exists.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from inference.artifacts.manifest import parse_manifest
from inference.core import PredictCall
from inference.errors import BundleError, InferenceError, InvalidRequestError, OverloadError, Violation
from inference.gateway import predictions
from inference.oip.inputs import block_of, renamed
from inference.rows import MAX_VIOLATIONS
from inference.rpc import convert
from inference.rpc.status import rich_status
from inference.rpc.tensors import inputs_of, requested_outputs
from inference.signature import Signature
from inference.status import failure_of
from protos.inference.v1.inference_pb2 import PredictRequest
from protos.inference.v1.manifest_pb2 import (
    FEATURE_TYPE_CATEGORY,
    FEATURE_TYPE_FLOAT,
    FEATURE_TYPE_INTEGER,
    ModelManifest,
)
from protos.oip.open_inference_pb2 import ModelInferRequest

__all__ = [
    "MODELS",
    "check_infer",
    "check_manifest",
    "check_predict",
    "check_predict_json",
    "check_refusal",
]

#: What HTTP/2 clients take of trailing metadata by default (grpc.max_metadata_size's soft limit).
_MAX_TRAILER_BYTES: Final = 8192
#: A violation is a sentence for a person, not a copy of the request.
_MAX_VIOLATION_CHARACTERS: Final = 2048
#: As the core checks it before it decodes (MAX_ROWS_PER_REQUEST).
_MAX_ROWS: Final = 65536
_STEP: Final = re.compile(r"([a-z_0-9]+)((?:\[\d+\])*)")
_INDEX: Final = re.compile(r"\[(\d+)\]")


class _Model(NamedTuple):
    name: str
    signature: Signature


def _model(name: str, *features: str, integers: Sequence[str] = ()) -> _Model:
    manifest = ModelManifest(name=name)
    for feature in features:
        kind = FEATURE_TYPE_INTEGER if feature in integers else FEATURE_TYPE_FLOAT
        manifest.features.add(name=feature, type=kind)
    return _Model(name, Signature(manifest))


def _mixed_model() -> _Model:
    """Two categories, of which one may be missing and takes unknown texts so, and numbers that may be missing."""
    manifest = ModelManifest(name="mixed")
    lenient = {"nullable": True, "unknown_as_missing": True}
    manifest.features.add(
        name="sepal_length", type=FEATURE_TYPE_CATEGORY, categories=["a", "b", "1"], **lenient
    )
    manifest.features.add(name="sepal_width", type=FEATURE_TYPE_CATEGORY, categories=["", "é", "a"])
    manifest.features.add(name="petal_length", type=FEATURE_TYPE_FLOAT, nullable=True)
    manifest.features.add(name="petal_width", type=FEATURE_TYPE_INTEGER)
    return _Model("mixed", Signature(manifest))


#: Four features as Iris has them; whole numbers in odd columns; one feature; names that look like places; texts.
MODELS: Final = (
    _model("iris", "sepal_length", "sepal_width", "petal_length", "petal_width"),
    _model("counts", "a", "b", "c", integers=("b",)),
    _model("one", "x"),
    _model("odd", "rows[0]", "values", "é\n"),
    _mixed_model(),
)


def check_predict(data: bytes) -> str:
    """Check the bytes of a `PredictRequest`."""
    try:
        request = PredictRequest.FromString(data)
    except DecodeError:
        return "no message"
    return _each_model(lambda model: _predict(request, model))


def _predict(request: PredictRequest, model: _Model) -> str:
    try:
        return _decide(convert.call_of(request, "r", shadow=False), model)
    except InferenceError as error:
        return check_refusal(error, lambda place: _is_in_message(request, place))


def check_predict_json(body: bytes) -> str:
    """Check the body of `POST /predict`."""
    return _each_model(lambda model: _predict_json(body, model))


def _predict_json(body: bytes, model: _Model) -> str:
    try:
        return _decide(predictions.call_of(body, "r", shadow=False), model)
    except InferenceError as error:
        return check_refusal(error, lambda place: _is_in_json(body, place))


def check_infer(data: bytes) -> str:
    """Check the bytes of a `ModelInferRequest`."""
    try:
        request = ModelInferRequest.FromString(data)
    except DecodeError:
        return "no message"
    return _each_model(lambda model: _infer(request, model))


def _infer(request: ModelInferRequest, model: _Model) -> str:
    requested_outputs(request)
    if len(request.inputs) not in (1, len(model.signature.names)):  # `OpenInference.expect` refuses it
        return "unexpected"
    try:
        block, features = block_of(inputs_of(request))
        return _decide(PredictCall(block, features), model)
    except InvalidRequestError as error:
        return check_refusal(renamed(error), lambda place: _is_in_message(request, place))
    except OverloadError as error:
        return check_refusal(error, lambda _place: True)


def check_manifest(content: bytes) -> str:
    """Check the bytes of a `manifest.json`."""
    try:
        manifest = parse_manifest(content, "b")
    except BundleError as error:
        str(error).encode("utf-8", "backslashreplace")
        return "refused"
    names = Signature(manifest).names
    assert names
    assert len(set(names)) == len(names)
    assert all(len(row.features) == len(names) for row in manifest.golden_rows)
    for row in manifest.golden_rows:
        for feature, number in zip(manifest.features, row.features, strict=True):
            assert math.isfinite(number) or (math.isnan(number) and feature.nullable)
    return "manifest"


def check_refusal(error: InferenceError, exists: Callable[[str], bool]) -> str:
    """Check that `error` tells the caller what to change, and where, in a status that fits its trailers."""
    failure = failure_of(error, "r")
    assert not failure.is_defect, error
    assert isinstance(error, InvalidRequestError | OverloadError), error
    violations = error.violations if isinstance(error, InvalidRequestError) else []
    assert isinstance(error, OverloadError) or 1 <= len(violations) <= MAX_VIOLATIONS
    for violation in violations:
        _check_violation(violation)
        assert exists(violation.field), violation
    status = rich_status(failure, (("x-request-id", "r"),))
    size = sum(len(key) + len(value) + 32 for key, value in status.trailing_metadata)
    assert size <= _MAX_TRAILER_BYTES, size
    return failure.code.name


def _check_violation(violation: Violation) -> None:
    assert violation.description
    assert len(violation.field) + len(violation.description) <= _MAX_VIOLATION_CHARACTERS, (
        len(violation.field),
        len(violation.description),
    )


def _decide(call: PredictCall, model: _Model) -> str:
    if call.rows.row_count > _MAX_ROWS:
        raise OverloadError("rows", "too many rows", None)
    matrix = model.signature.features_of(call.rows, call.feature_names)
    assert matrix.dtype == np.float32
    assert matrix.shape == (call.rows.row_count, len(model.signature.names))
    assert matrix.flags.c_contiguous
    for column, kind in zip(matrix.T, model.signature.kinds, strict=True):
        present = column[~np.isnan(column)] if kind.nullable else column
        assert np.isfinite(present).all()
        if kind.is_category:
            assert set(present.tolist()) <= set(range(len(kind.categories)))
    return "matrix"


def _each_model(check: Callable[[_Model], str]) -> str:
    outcomes = [check(model) for model in MODELS]
    return "matrix" if "matrix" in outcomes else outcomes[0]


def _is_in_message(request: Any, place: str) -> bool:  # noqa: ANN401  # any message
    """Tell whether a path such as `rows[3].values[1]` leads to something in `request`."""
    found: Any = request
    for step in place.split("."):
        match = _STEP.fullmatch(step)
        if match is None or match[1] not in type(found).DESCRIPTOR.fields_by_name:
            return False
        found = getattr(found, match[1])
        for index in map(int, _INDEX.findall(match[2])):
            # A number in raw bytes has no element of its own to look at.
            if isinstance(found, bytes):
                return index < len(found)
            if index >= len(found):
                return False
            found = found[index]
    return True


def _is_in_json(body: bytes, place: str) -> bool:
    """Tell whether `place` leads to something in the JSON text `body`."""
    if place == "body":
        return True
    content = orjson.loads(body)
    if place in ("rows", "feature_names", "model_name", "model_version"):
        return True
    if any(key[:64] == place for key in content):
        return True
    name, index, rest = _split(place)
    values = content.get(name, content.get("featureNames"))
    if name == "feature_names" and not values:  # rows that are objects name their features themselves
        values = list(content["rows"][0])
    if not isinstance(values, list) or index >= len(values):
        return False
    return not rest or _is_in_row(values[index], rest)


def _split(place: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"(rows|feature_names)\[(\d+)\](?:\.(.*))?", place, re.DOTALL)
    assert match is not None, place
    return match[1], int(match[2]), match[3] or ""


def _is_in_row(row: Any, rest: str) -> bool:  # noqa: ANN401  # any JSON value
    if rest in ("values", "cells"):
        return isinstance(row, dict)
    numbered = re.fullmatch(r"(values|cells)\[(\d+)\]", rest)
    if numbered is None or (isinstance(row, dict) and rest in row):
        return isinstance(row, dict) and any(key.startswith(rest.rstrip("…")) for key in row)
    values = row[numbered[1]] if isinstance(row, dict) else row
    return int(numbered[2]) < len(values)
