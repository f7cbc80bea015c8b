"""The bundle: a directory that stock MLflow loads, and that a server can check byte by byte.

    MLmodel, model.skops, …   the stock MLflow scikit-learn flavour
    model.onnx                only when parity passed
    metrics.json, reference.csv
    manifest.json             written last: digests of all the others

The digest of a bundle is the SHA-256 of its `manifest.json`.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import mlflow.sklearn
import numpy as np
import pandas as pd
import skops.io
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature

from protos.inference.v1.manifest_pb2 import ModelManifest, Parity, Runtime
from training.compile import CompileError, OnnxModel, compile_to_onnx
from training.errors import BundleError, EstimatorError
from training.fit import FittedModel
from training.lineage import trace_lineage
from training.manifest import (
    MANIFEST_FILE,
    build_manifest,
    list_files,
    manifest_from_json,
    message_to_json,
)
from training.parity import compare_outputs, parity_bound
from training.reference import persist_reference_dataset, predict_out_of_sample
from training.report import show_note
from training.storage import storage_errors, write_atomically

__all__ = [
    "METRICS_FILE",
    "ONNX_FILE",
    "SIGNATURE_FILE",
    "SKLEARN_FILE",
    "TRUSTED_TYPES",
    "Bundle",
    "build_bundle",
    "read_bundle",
    "verify_bundle",
    "write_compiled",
]

ONNX_FILE: Final = "model.onnx"
SKLEARN_FILE: Final = "model.skops"
METRICS_FILE: Final = "metrics.json"
#: The detached signature, which no manifest can list: it is made of the manifest.
SIGNATURE_FILE: Final = f"{MANIFEST_FILE}.sig"

#: Types that skops may build beyond its own list. Compiled scikit-learn code without a way to run anything.
TRUSTED_TYPES: Final = ("sklearn.tree._tree.Tree",)

#: What may lie beside the files of a bundle: MLflow adds the first to a copy that is downloaded by name and
#: version, `training.sign` the second.
_ADDED_LATER: Final = frozenset({"registered_model_meta", SIGNATURE_FILE})
_EXAMPLE_ROWS: Final = 2


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in `directory`; `digest` is the SHA-256 of its manifest's bytes."""

    directory: Path
    manifest: ModelManifest
    digest: str


def build_bundle(
    directory: Path,
    model: FittedModel,
    *,
    name: str,
    seed: int,
    run_id: str = "",
    model_id: str | None = None,
) -> Bundle:
    """Write a bundle into the empty `directory`, read it back and verify it.

    `run_id` and `model_id` are those of MLflow, where the bundle will be stored. Raises `EstimatorError`
    when the model holds types that are not trusted, `BundleError`, `StorageError`.
    """
    with storage_errors(directory):
        _save_for_mlflow(directory, model, run_id, model_id)
        parity = write_compiled(directory, model, seed)
        write_atomically(directory / METRICS_FILE, message_to_json(model.metrics))
        _save_reference(directory, model, seed)
        manifest = build_manifest(
            model,
            name=name,
            sklearn_file=SKLEARN_FILE,
            files=list_files(directory),
            lineage=trace_lineage(model, seed=seed, run_id=run_id),
            parity=parity,
        )
        write_atomically(directory / MANIFEST_FILE, message_to_json(manifest))
    return verify_bundle(directory)


def verify_bundle(directory: Path) -> Bundle:
    """Check every file of a bundle against its manifest, and its models against the golden rows.

    Raises `BundleError` that names the first difference.
    """
    bundle = read_bundle(directory)
    _verify_golden_rows(directory, bundle.manifest)
    return bundle


def read_bundle(directory: Path) -> Bundle:
    """Check every file of a bundle against its manifest, without running the models.

    Raises `BundleError` that names the first difference.
    """
    with storage_errors(directory):
        path = directory / MANIFEST_FILE
        if not path.is_file():
            raise BundleError(str(directory), f"it has no {MANIFEST_FILE}")
        content = path.read_bytes()
        manifest = manifest_from_json(content, str(directory))
        _verify_files(directory, manifest)
    return Bundle(directory, manifest, hashlib.sha256(content).hexdigest())


def _save_for_mlflow(directory: Path, model: FittedModel, run_id: str, model_id: str | None) -> None:
    features = model.table.frame[list(model.table.features)]
    with warnings.catch_warnings():
        # The hint about whole numbers and missing values: a validated table has none missing.
        warnings.filterwarnings(
            "ignore", message="Hint: Inferred schema contains integer", category=UserWarning
        )
        signature = infer_signature(features, model.estimator.predict(model.inputs()))
    try:
        mlflow.sklearn.save_model(
            model.estimator,
            directory,
            mlflow_model=Model(run_id=run_id or None, model_id=model_id),
            serialization_format="skops",
            signature=signature,
            input_example=features.iloc[:_EXAMPLE_ROWS],
            # Named one by one: MLflow would find them by importing the model in another process (12-42 s).
            pip_requirements=[f"{name}=={version(name)}" for name in ("numpy", "scikit-learn", "skops")],
            skops_trusted_types=list(TRUSTED_TYPES),
        )
    except MlflowException as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None  # a full disk, which MLflow takes for a model that is no model
        remedy = "choose an estimator that skops can store safely, such as a forest or a linear model"
        raise EstimatorError(model.plan.class_path, _why_not_stored(error), remedy) from error


def _why_not_stored(error: MlflowException) -> str:
    untrusted = re.search(r"Untrusted types found in the file: \[(.*?)\]", str(error.message))
    if untrusted:
        return f"it holds types that are not trusted when a model is loaded: {untrusted[1]}"
    return str(error.__cause__ or error.message).partition("\n")[0].rstrip(".")


def write_compiled(directory: Path, model: FittedModel, seed: int) -> Parity:
    """Write `model.onnx` when it agrees with scikit-learn; the message says whether it does, or why not."""
    try:
        content = compile_to_onnx(model)
        parity = compare_outputs(model, OnnxModel(content), seed)
    except CompileError as error:
        return Parity(bound=parity_bound(model), reason=f"no ONNX form: {error}")
    if parity.passed:
        write_atomically(directory / ONNX_FILE, content)
    return parity


def _save_reference(directory: Path, model: FittedModel, seed: int) -> None:
    try:
        predictions = predict_out_of_sample(model, seed)
    except EstimatorError as error:
        # No reason to lose the model: drift of the features is found all the same.
        show_note(f"the predictions in reference.csv are those of rows that were fitted on: {error}")
        predictions = model.estimator.predict(model.inputs())
    frame = model.table.frame
    features = frame[list(model.table.features)]
    persist_reference_dataset(
        directory / "reference.csv", features, predictions.tolist(), frame[model.table.target].tolist()
    )


def _verify_files(directory: Path, manifest: ModelManifest) -> None:
    found = {entry.path: entry for entry in list_files(directory) if entry.path not in _ADDED_LATER}
    listed = {entry.path: entry for entry in manifest.files}
    for path in sorted(found.keys() | listed.keys()):
        if path not in found:
            raise BundleError(str(directory), f"{path} is missing")
        if path not in listed:
            raise BundleError(str(directory), f"{path} is not in the manifest")
        if found[path] != listed[path]:
            raise BundleError(str(directory), f"{path} differs from its SHA-256 in the manifest")


def _verify_golden_rows(directory: Path, manifest: ModelManifest) -> None:
    rows = np.asarray([golden.features for golden in manifest.golden_rows], dtype=np.float32)
    expected = [list(golden.probabilities) or [golden.value] for golden in manifest.golden_rows]
    estimator = skops.io.load(directory / manifest.sklearn_file, trusted=list(TRUSTED_TYPES))
    inputs = pd.DataFrame(rows, columns=[feature.name for feature in manifest.features])
    outputs = {
        manifest.sklearn_file: (estimator.predict_proba if manifest.classes else estimator.predict)(inputs)
    }
    if manifest.runtime == Runtime.RUNTIME_ONNX:
        outputs[ONNX_FILE] = OnnxModel((directory / ONNX_FILE).read_bytes()).run(rows)[-1]
    for file, output in outputs.items():
        scale = 1.0 if manifest.classes else float(np.ptp(expected)) or 1.0
        difference = np.abs(np.asarray(output).reshape(len(rows), -1) - expected).max() / scale
        if not difference <= manifest.parity.bound:
            reason = f"{file} does not reproduce the golden rows (off by {difference:.3g})"
            raise BundleError(str(directory), reason)
