"""The manifest: the message that describes a bundle, its golden rows, and its form as a file."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message
from numpy.typing import NDArray

from protos.inference.v1.manifest_pb2 import (
    BundleFile,
    GoldenRow,
    Lineage,
    ModelManifest,
    ModelMetrics,
    Parity,
    Runtime,
)
from training.bundling.golden import choose_golden_rows
from training.data.columns import features_of
from training.errors import BundleError
from training.fitting.fit import FittedModel

__all__ = [
    "MANIFEST_FILE",
    "SCHEMA_VERSION",
    "build_manifest",
    "list_files",
    "manifest_from_json",
    "message_to_json",
    "metrics_from_json",
]

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 1

_READ_BYTES: Final = 1 << 20


def build_manifest(
    model: FittedModel,
    *,
    name: str,
    sklearn_file: str,
    files: list[BundleFile],
    lineage: Lineage,
    parity: Parity,
    golden: Collection[int] = (),
) -> ModelManifest:
    """Put together what a server must know; the runtime follows from `parity`.

    `golden` are rows of the table that shall be golden rows beside those that are chosen.
    """
    return ModelManifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        task=model.plan.task,
        features=features_of(model.columns),
        classes=[str(label) for label in model.classes],
        runtime=Runtime.RUNTIME_ONNX if parity.passed else Runtime.RUNTIME_SKLEARN,
        sklearn_file=sklearn_file,
        files=files,
        lineage=lineage,
        parity=parity,
        golden_rows=_golden_rows(model, golden),
    )


def _golden_rows(model: FittedModel, wanted: Collection[int]) -> list[GoldenRow]:
    """Return rows of the table with what scikit-learn says to them in float32."""
    chosen = choose_golden_rows(model, wanted)
    rows = model.table.frame.iloc[chosen]
    inputs, numbers = model.inputs(rows), _exact_matrix(model, rows).tolist()
    predicted = model.predict(inputs).tolist()
    if not model.plan.is_classification:
        return [GoldenRow(features=row, value=value) for row, value in zip(numbers, predicted, strict=True)]
    shares = model.probabilities(inputs).tolist()
    return [
        GoldenRow(features=row, class_index=index, probabilities=share)
        for row, index, share in zip(numbers, predicted, shares, strict=True)
    ]


def _exact_matrix(model: FittedModel, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the matrix of `rows` with the numbers as the table has them: 5.1, and not its nearest float32."""
    exact = model.matrix(rows).astype(np.float64)
    for place, column in enumerate(model.columns):
        if not column.is_category:
            exact[:, place] = rows[column.name].to_numpy(dtype=np.float64, na_value=np.nan)
    return exact


def list_files(directory: Path) -> list[BundleFile]:
    """Return every file below `directory` but the manifest, sorted by path, with digest and size."""
    found = sorted(
        (path.relative_to(directory).as_posix(), path) for path in directory.rglob("*") if path.is_file()
    )
    return [
        BundleFile(path=name, sha256=_sha256(path), size_bytes=path.stat().st_size)
        for name, path in found
        if name != MANIFEST_FILE
    ]


def message_to_json(message: Message) -> bytes:
    """Return protobuf JSON with the field names of the `.proto`, zeros and empty lists written out."""
    fields = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    lineage = fields.get("lineage", {})
    if "library_versions" in lineage:  # the only map; protobuf gives its entries in another order each time
        lineage["library_versions"] = dict(sorted(lineage["library_versions"].items()))
    return json.dumps(fields, indent=1).encode() + b"\n"


def manifest_from_json(content: bytes, bundle: str) -> ModelManifest:
    """Parse `manifest.json`. Raises `BundleError` for anything but a manifest of a version known here."""
    try:
        manifest = Parse(content.decode(), ModelManifest())
    except (ParseError, UnicodeDecodeError) as error:
        raise BundleError(bundle, f"{MANIFEST_FILE} is not a manifest: {error}") from None
    if manifest.schema_version != SCHEMA_VERSION:
        reason = (
            f"its manifest has schema version {manifest.schema_version}, and {SCHEMA_VERSION} is known here"
        )
        raise BundleError(bundle, reason)
    return manifest


def metrics_from_json(content: bytes, bundle: str) -> ModelMetrics:
    """Parse `metrics.json`. Raises `BundleError` for anything else."""
    try:
        return Parse(content.decode(), ModelMetrics(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError) as error:
        raise BundleError(bundle, f"its metrics cannot be read: {error}") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
