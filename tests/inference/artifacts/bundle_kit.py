"""Make bundles of tiny models, sound and not."""

import hashlib
import json
import pickle
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skops.io
from google.protobuf import json_format
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_classifier

from inference.artifacts.cache import Cache
from protos.inference.v1 import manifest_pb2 as pb

Fields = dict[str, Any]


def write_bundle(
    directory: Path,
    model: BaseEstimator,
    rows: np.ndarray,
    *,
    onnx: bool = True,
    sklearn_file: str = "model.skops",
) -> Path:
    """Write a bundle of a fitted model, as training does; `rows` give the golden rows."""
    directory.mkdir(parents=True)
    _write_sklearn(directory / sklearn_file, model)
    (directory / "MLmodel").write_text("flavors: {}\n")
    (directory / "data").mkdir()
    (directory / "data" / "notes.txt").write_text("a file in a directory\n")
    classifies = is_classifier(model)
    metrics = pb.ModelMetrics(
        train_rows=100, test_rows=50, **({"accuracy": 0.96} if classifies else {"r2": 0.4})
    )
    (directory / "metrics.json").write_text(
        json_format.MessageToJson(metrics, preserving_proto_field_name=True)
    )
    if onnx:
        kind = [("input", FloatTensorType([None, rows.shape[1]]))]
        options = {id(model): {"zipmap": False}} if classifies else None
        compiled = to_onnx(model, initial_types=kind, options=options, target_opset={"": 18, "ai.onnx.ml": 3})
        (directory / "model.onnx").write_bytes(compiled.SerializeToString())
    manifest = _manifest(model, rows.astype(np.float32), onnx=onnx, sklearn_file=sklearn_file)
    seal(directory, manifest)
    return directory


def _write_sklearn(file: Path, model: BaseEstimator) -> None:
    if file.suffix == ".skops":
        skops.io.dump(model, file)
    elif file.suffix == ".joblib":
        joblib.dump(model, file)
    else:
        file.write_bytes(pickle.dumps(model))


def _manifest(model: BaseEstimator, rows: np.ndarray, *, onnx: bool, sklearn_file: str) -> pb.ModelManifest:
    manifest = pb.ModelManifest(
        schema_version=1,
        name="iris" if is_classifier(model) else "diabetes",
        task=pb.TASK_CLASSIFICATION if is_classifier(model) else pb.TASK_REGRESSION,
        features=[pb.Feature(name=f"f{n}", type=pb.FEATURE_TYPE_FLOAT) for n in range(rows.shape[1])],
        runtime=pb.RUNTIME_ONNX if onnx else pb.RUNTIME_SKLEARN,
        sklearn_file=sklearn_file,
        parity=pb.Parity(passed=onnx, rows=100),
    )
    for row in rows:
        golden = manifest.golden_rows.add(features=[float(number) for number in row])
        if is_classifier(model):
            golden.probabilities.extend(float(p) for p in model.predict_proba(row[None])[0])
            golden.class_index = int(np.argmax(golden.probabilities))
        else:
            golden.value = float(model.predict(row[None])[0])
    manifest.classes.extend(str(label) for label in getattr(model, "classes_", []))
    return manifest


def seal(directory: Path, manifest: pb.ModelManifest) -> str:
    """Write the manifest with the digests of all files of the directory; return the digest of the bundle."""
    del manifest.files[:]
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        if file.name != "manifest.json":
            content = file.read_bytes()
            manifest.files.add(
                path=file.relative_to(directory).as_posix(),
                sha256=hashlib.sha256(content).hexdigest(),
                size_bytes=len(content),
            )
    return write_manifest(directory, json_format.MessageToDict(manifest, preserving_proto_field_name=True))


def write_manifest(directory: Path, fields: dict[str, Any]) -> str:
    """Write a manifest as it is given, sound or not; return the digest of the bundle."""
    (directory / "manifest.json").write_text(json.dumps(fields, indent=1))
    return digest_of(directory)


def digest_of(directory: Path) -> str:
    """Return the digest of the bundle in a directory."""
    return hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()


@dataclass(frozen=True)
class SeededRegistry:
    """A registry with the model `iris`.

    Version 1 is sound and has the alias `champion` and the stage Production; 2 is another sound one; 3 has
    the digest tag of another bundle; 4 has no tag; 5 is a plain MLflow model. `run_id` logged version 1
    among its artifacts, at `bundle`; `second_run_id` logged version 2 as a model of MLflow 3, named `model`.
    """

    tracking_uri: str
    run_id: str
    second_run_id: str
    forest: Path
    other: Path


class Kit:
    """A directory of the test, and copies of bundles in it that the test may change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def copy(self, bundle: Path) -> Path:
        """Copy a bundle, so that the test may change it."""
        return Path(shutil.copytree(bundle, self.directory / f"copy-{uuid.uuid4().hex}"))

    def change(self, bundle: Path, change: Callable[[Fields], object]) -> Path:
        """Copy a bundle and change the fields of its manifest by a function."""
        copy = self.copy(bundle)
        fields = json.loads((copy / "manifest.json").read_text())
        change(fields)
        write_manifest(copy, fields)
        return copy


def install(cache: Cache, bundle: Path) -> str:
    """Put a bundle into the cache, as fetching does."""
    digest = digest_of(bundle)
    with cache.staging() as directory, cache.lock(digest):
        shutil.copytree(bundle, directory, dirs_exist_ok=True)
        cache.install(directory, digest)
    return digest
