"""The manifest: the message that describes a bundle, its golden rows, and its form as a file."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message

from protos.inference.v1.manifest_pb2 import (
    BundleFile,
    Feature,
    FeatureType,
    GoldenRow,
    Lineage,
    ModelManifest,
    Parity,
    Runtime,
)
from training.errors import BundleError
from training.fit import FittedModel

__all__ = [
    "MANIFEST_FILE",
    "SCHEMA_VERSION",
    "build_manifest",
    "list_files",
    "manifest_from_json",
    "message_to_json",
]

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 1

#: About so many rows must reproduce at load: enough to meet every class, few enough to cost nothing.
_GOLDEN_ROWS: Final = 16
_MOST_GOLDEN_ROWS: Final = 256
#: Twice the difference that the server grants a probability: below this margin rounding may choose the class.
_TIE_MARGIN: Final = 2e-4
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
        features=_features(model),
        classes=[str(label) for label in model.classes],
        runtime=Runtime.RUNTIME_ONNX if parity.passed else Runtime.RUNTIME_SKLEARN,
        sklearn_file=sklearn_file,
        files=files,
        lineage=lineage,
        parity=parity,
        golden_rows=_golden_rows(model, golden),
    )


def _features(model: FittedModel) -> list[Feature]:
    whole, fraction = FeatureType.FEATURE_TYPE_INTEGER, FeatureType.FEATURE_TYPE_FLOAT
    types = model.table.frame[list(model.table.features)].dtypes
    return [
        Feature(name=name, type=whole if kind.kind in "iu" else fraction)
        for name, kind in zip(model.table.features, types, strict=True)
    ]


def _golden_rows(model: FittedModel, wanted: Collection[int]) -> list[GoldenRow]:
    """Return rows of the table with what scikit-learn says to them in float32.

    Half of them or more are the rows about which a classifier is least sure: far from its boundaries another
    model gives the same probabilities.
    """
    features = model.table.frame[list(model.table.features)]
    chosen = _least_sure_and_spread(model) if model.plan.is_classification else _over_values(model)
    chosen = sorted({*chosen, *_without_ties(model, wanted)})
    inputs = model.inputs(features.iloc[chosen])
    numbers = features.iloc[chosen].to_numpy(np.float64).tolist()
    predicted = model.predict(inputs).tolist()
    if not model.plan.is_classification:
        return [GoldenRow(features=row, value=value) for row, value in zip(numbers, predicted, strict=True)]
    shares = model.probabilities(inputs).tolist()
    return [
        GoldenRow(features=row, class_index=index, probabilities=share)
        for row, index, share in zip(numbers, predicted, shares, strict=True)
    ]


def _least_sure_and_spread(model: FittedModel) -> list[int]:
    """Choose rows in turn from each class, evenly over the table, and at least as many of small margins."""
    target = model.table.frame[model.table.target].to_numpy()
    groups = [np.flatnonzero(target == label) for label in model.classes][: _MOST_GOLDEN_ROWS // 2]
    each = -(-_GOLDEN_ROWS // 2 // len(groups))
    spread: list[int] = []
    for group in groups:
        places = np.linspace(0, len(group) - 1, min(each, len(group))).round().astype(int)
        spread += group[places].tolist()
    least_sure = _by_margin(model)[: max(_GOLDEN_ROWS // 2, len(spread))]
    return sorted({*spread, *least_sure})


def _by_margin(model: FittedModel) -> list[int]:
    """Return the rows without a tie, smallest margin between the two most probable classes first."""
    two = np.sort(model.probabilities(model.inputs()), axis=1)[:, -2:]
    margins = two[:, 1] - two[:, 0]
    # Equal margins, as of a single tree, in an order that has nothing to do with that of the table.
    order = np.lexsort((np.random.default_rng(0).permutation(len(margins)), margins))
    return [int(row) for row in order if margins[row] > _TIE_MARGIN]


def _without_ties(model: FittedModel, rows: Collection[int]) -> list[int]:
    if not rows or not model.plan.is_classification:
        return list(rows)
    return sorted(set(_by_margin(model)) & set(rows))


def _over_values(model: FittedModel) -> list[int]:
    """Choose rows evenly over the sorted predictions, the least and the largest among them."""
    order = np.argsort(model.predict(model.inputs()), kind="stable")
    return sorted(set(order[np.linspace(0, len(order) - 1, _GOLDEN_ROWS).round().astype(int)].tolist()))


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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
