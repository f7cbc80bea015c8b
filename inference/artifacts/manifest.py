"""Parse a manifest: everything that the server relies on later is checked here once."""

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import orjson
from google.protobuf import json_format

from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import (
    FEATURE_TYPE_CATEGORY,
    FEATURE_TYPE_UNSPECIFIED,
    RUNTIME_ONNX,
    RUNTIME_SKLEARN,
    TASK_CLASSIFICATION,
    TASK_REGRESSION,
    GoldenRow,
    ModelManifest,
)

__all__ = ["MANIFEST_FILE", "METRICS_FILE", "ONNX_FILE", "SCHEMA_VERSION", "is_safe_path", "parse_manifest"]

MANIFEST_FILE: Final = "manifest.json"
METRICS_FILE: Final = "metrics.json"
ONNX_FILE: Final = "model.onnx"
#: The one version of `ModelManifest` that exists.
SCHEMA_VERSION: Final = 1

#: Characters of a category. One row with its texts has to fit a line of the prediction log, 12 KiB.
_MAX_CATEGORY: Final = 1024
#: All texts together. They travel whenever the model is described, and gRPC clients take 4 MiB by default.
_MAX_CATEGORIES_BYTES: Final = 1 << 20
#: Names are shown in logs, labels and terminals, where these would be commands.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def parse_manifest(content: bytes, bundle: str) -> ModelManifest:
    """Parse the bytes of a `manifest.json`; unknown fields are ignored, so that training may be newer.

    Raises `BundleError` (naming `bundle`) when the content is not a manifest of a known schema version, or
    when a field that serving needs is missing or contradicts another.
    """
    try:
        fields = orjson.loads(content)  # strict: `json` takes lone surrogates, on which protobuf fails
        version = fields.get("schema_version")
    except (ValueError, AttributeError) as error:
        raise BundleError(bundle, f"{MANIFEST_FILE} is not a JSON object: {error}") from error
    if version != SCHEMA_VERSION:
        reason = f"{MANIFEST_FILE} has schema_version {version!r} and this server knows {SCHEMA_VERSION}"
        raise BundleError(
            bundle, reason, "upgrade the server, or register the model with the training it has"
        )
    try:
        manifest = json_format.ParseDict(fields, ModelManifest(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise BundleError(bundle, f"{MANIFEST_FILE} is not a ModelManifest: {error}") from error
    problem = next(_problems(manifest), None)
    if problem is not None:
        raise BundleError(bundle, f"{MANIFEST_FILE}: {problem}")
    return manifest


def is_safe_path(path: str) -> bool:
    """Tell whether `path` stays inside a directory on every platform: relative, no `..`, no backslash."""
    pure = PurePosixPath(path)
    plain = not re.search(r"[\\:\x00-\x1f]", path) and not pure.is_absolute()
    return plain and str(pure) == path and path not in ("", ".") and ".." not in pure.parts


def _problems(manifest: ModelManifest) -> Iterator[str]:
    yield from _problems_of_files(manifest)
    yield from _problems_of_shape(manifest)
    yield from _problems_of_features(manifest)
    yield from _problems_of_runtime(manifest)
    if not manifest.golden_rows:
        yield "golden_rows is empty and at least one row is expected"
    for number, row in enumerate(manifest.golden_rows):
        problem = _problem_of_row(manifest, row) or next(_problems_of_numbers(manifest, row), "")
        if problem:
            yield f"golden_rows[{number}] {problem}"


def _problems_of_files(manifest: ModelManifest) -> Iterator[str]:
    seen = set[str]()
    for number, file in enumerate(manifest.files):
        if not is_safe_path(file.path) or file.path == MANIFEST_FILE:
            yield f"files[{number}].path is {file.path!r} and a path inside the bundle is expected"
        if file.path in seen:
            yield f"files lists {file.path} twice"
        seen.add(file.path)
        if not _SHA256.fullmatch(file.sha256):
            yield f"the sha256 of {file.path} is {file.sha256!r} and 64 hexadecimal digits are expected"
        if file.size_bytes < 0:
            yield f"the size_bytes of {file.path} is {file.size_bytes}"


def _problems_of_shape(manifest: ModelManifest) -> Iterator[str]:
    if not manifest.name:
        yield "name is missing"
    if _CONTROL.search(manifest.name):
        yield f"name is {manifest.name!r} and one without control characters is expected"
    names = [feature.name for feature in manifest.features]
    if not names or not all(names) or len(set(names)) != len(names):
        yield f"features is {names} and at least one, each with a name of its own, is expected"
    for name in filter(_CONTROL.search, names):
        yield f"a feature has the name {name!r} and one without control characters is expected"
    if any(feature.type == FEATURE_TYPE_UNSPECIFIED for feature in manifest.features):
        yield "a feature has no type"
    classes = list(manifest.classes)
    if manifest.task == TASK_CLASSIFICATION:
        if not classes or len(set(classes)) != len(classes):
            yield f"classes is {classes} and different labels are expected"
    elif manifest.task == TASK_REGRESSION:
        if classes:
            yield f"classes is {classes} and a regression has none"
    else:
        yield "task is missing or unknown"


def _problems_of_features(manifest: ModelManifest) -> Iterator[str]:
    total = 0
    for feature in manifest.features:
        categories = list(feature.categories)
        what = f"the feature {feature.name!r}"
        if feature.type == FEATURE_TYPE_CATEGORY:
            if not categories or len(set(categories)) != len(categories):
                yield f"{what} has {len(categories)} categories and at least one, each once, is expected"
        elif categories or feature.unknown_as_missing:
            yield f"{what} has categories, or unknown_as_missing, and is no FEATURE_TYPE_CATEGORY"
        if feature.unknown_as_missing and not feature.nullable:
            yield f"{what} is unknown_as_missing and not nullable, so an unknown text has no value"
        longest = max(map(len, categories), default=0)
        if longest > _MAX_CATEGORY:
            yield f"{what} has a category of {longest} characters and at most {_MAX_CATEGORY} are expected"
        total += sum(len(text.encode()) for text in categories)
    if total > _MAX_CATEGORIES_BYTES:
        yield f"the categories take {total} bytes and at most {_MAX_CATEGORIES_BYTES} are expected"


def _problems_of_runtime(manifest: ModelManifest) -> Iterator[str]:
    listed = {file.path for file in manifest.files}
    if manifest.runtime == RUNTIME_ONNX:
        if ONNX_FILE not in listed:
            yield f"runtime is RUNTIME_ONNX and files does not list {ONNX_FILE}"
        if not manifest.parity.passed:
            yield "runtime is RUNTIME_ONNX and parity has not passed"
    elif manifest.runtime == RUNTIME_SKLEARN:
        if manifest.sklearn_file not in listed:
            yield f"sklearn_file is {manifest.sklearn_file!r} and files does not list it"
    else:
        yield "runtime is missing or unknown"


def _problem_of_row(manifest: ModelManifest, row: GoldenRow) -> str:
    outputs = list(row.probabilities) if manifest.task == TASK_CLASSIFICATION else [row.value]
    if len(row.features) != len(manifest.features):
        return f"has {len(row.features)} features and {len(manifest.features)} are expected"
    if not all(map(math.isfinite, outputs)):
        return "has a number that is not finite"
    if manifest.task == TASK_REGRESSION:
        return "" if row.HasField("value") else "has no value"
    if not row.HasField("class_index") or not 0 <= row.class_index < len(manifest.classes):
        return f"has no class_index below {len(manifest.classes)}"
    if len(outputs) != len(manifest.classes):
        return f"has {len(outputs)} probabilities and {len(manifest.classes)} are expected"
    return ""


def _problems_of_numbers(manifest: ModelManifest, row: GoldenRow) -> Iterator[str]:
    for feature, number in zip(manifest.features, row.features, strict=True):
        if math.isnan(number) and feature.nullable:
            continue
        if not math.isfinite(number):
            yield "has a number that is not finite"
        elif feature.type == FEATURE_TYPE_CATEGORY and not (
            number.is_integer() and 0 <= number < len(feature.categories)
        ):
            known = f"{len(feature.categories)} categories"
            yield f"has {number:g} for the feature {feature.name!r}, the code of none of its {known}"
