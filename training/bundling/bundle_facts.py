"""What a bundle says of itself, as one dictionary: for people as a page, for programs as JSON."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, Parse, ParseError

from protos.inference.v1.manifest_pb2 import Feature, FeatureType, ModelManifest, ModelMetrics, Runtime, Task
from training.bundling.bundle import METRICS_FILE, SIGNATURE_FILE, read_bundle
from training.errors import BundleError

__all__ = ["read_facts"]

_TASKS: Final = {Task.TASK_CLASSIFICATION: "classification", Task.TASK_REGRESSION: "regression"}
_RUNTIMES: Final = {Runtime.RUNTIME_ONNX: "onnx", Runtime.RUNTIME_SKLEARN: "sklearn"}
_TYPES: Final = {
    FeatureType.FEATURE_TYPE_FLOAT: "number",
    FeatureType.FEATURE_TYPE_INTEGER: "integer",
    FeatureType.FEATURE_TYPE_CATEGORY: "category",
}


def read_facts(directory: Path, *, public_key: Path | None = None) -> dict[str, Any]:
    """Check every file of the bundle in `directory` against its manifest, and return what there is to know.

    With `public_key` its signature must verify. Raises `BundleError`, and `ConfigError` for an unusable key.
    """
    bundle = read_bundle(directory)
    manifest = bundle.manifest
    signature = _signature(directory, public_key)
    files = [
        {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in manifest.files
    ]
    return {
        "digest": bundle.digest,
        "name": manifest.name,
        "task": _TASKS.get(manifest.task, "unknown"),
        "runtime": _RUNTIMES.get(manifest.runtime, "unknown"),
        "sklearn_file": manifest.sklearn_file,
        "classes": list(manifest.classes),
        "features": [_feature(feature) for feature in manifest.features],
        "metrics": _metrics(directory, manifest),
        "parity": _fields(manifest.parity) if manifest.HasField("parity") else None,
        "lineage": _fields(manifest.lineage) if manifest.HasField("lineage") else None,
        "golden_rows": len(manifest.golden_rows),
        "files": files,
        "files_verified": True,  # else `read_bundle` would have raised
        "size_bytes": sum(file.size_bytes for file in manifest.files),
        "signature": signature,
    }


def _feature(feature: Feature) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": feature.name,
        "type": _TYPES.get(feature.type, "unknown"),
        "nullable": feature.nullable,
    }
    if feature.type == FeatureType.FEATURE_TYPE_CATEGORY:
        shown |= {
            "categories": list(feature.categories),
            "unknown_as_missing": feature.unknown_as_missing,
        }
    return shown


def _fields(message: Any) -> dict[str, Any]:  # noqa: ANN401  # any message
    shown: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # JSON of protobuf writes 64-bit integers as text.
    return {key: int(value) if key == "data_rows" else value for key, value in shown.items()}


def _metrics(directory: Path, manifest: ModelManifest) -> dict[str, float]:
    if METRICS_FILE not in {file.path for file in manifest.files}:
        return {}
    try:
        metrics = Parse(
            (directory / METRICS_FILE).read_text("utf-8"), ModelMetrics(), ignore_unknown_fields=True
        )
    except (ParseError, UnicodeDecodeError) as error:
        raise BundleError(str(directory), f"{METRICS_FILE} is not a ModelMetrics message: {error}") from None
    return {descriptor.name: value for descriptor, value in metrics.ListFields()}


def _signature(directory: Path, public_key: Path | None) -> dict[str, Any]:
    """Return the state (`none`, `unverified`, `verified`) and which key and files the signature claims."""
    if public_key is not None:
        from training.bundling.signing import require_signed  # noqa: PLC0415  # an extra

        require_signed(directory, public_key)
    file = directory / SIGNATURE_FILE
    if not file.is_file():
        return {"state": "none"}
    try:
        content = json.loads(file.read_bytes())
        statement = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
        claims = {
            "key_sha256": str(content["verificationMaterial"]["publicKey"]["hint"]),
            "files": len(statement["predicate"]["resources"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            str(directory), f"{SIGNATURE_FILE} is no signature ({type(error).__name__})", "sign it anew"
        ) from None
    return {"state": "unverified" if public_key is None else "verified", **claims}
