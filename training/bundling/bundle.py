"""The bundle: a directory that stock MLflow loads, and that a server can check byte by byte.

    MLmodel, model.skops, …   the stock MLflow scikit-learn flavour
    model.onnx                only when parity passed
    metrics.json, reference.csv, model_card.md
    manifest.json             written last: digests of all the others

The digest of a bundle is the SHA-256 of its `manifest.json`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protos.inference.v1.manifest_pb2 import ModelManifest, Parity, Runtime
from training.bundling.compile import CompileError, OnnxModel, compile_to_onnx
from training.bundling.lineage import trace_lineage
from training.bundling.manifest import (
    MANIFEST_FILE,
    build_manifest,
    list_files,
    manifest_from_json,
    message_to_json,
)
from training.bundling.parity import compare_outputs, parity_bound
from training.bundling.reference import (
    REFERENCE_FILE,
    Answers,
    persist_reference_dataset,
    predict_out_of_sample,
)
from training.bundling.stored_model import SKLEARN_FILE, load_stored, store_model
from training.bundling.trusted_types import TRUSTED_TYPES
from training.data.columns import columns_of, decode_rows
from training.errors import BundleError, EstimatorError
from training.fitting.fit import FittedModel
from training.judging.evaluation import Evaluation, evaluate
from training.judging.model_card import MODEL_CARD_FILE, write_card
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
METRICS_FILE: Final = "metrics.json"
#: The detached signature, which no manifest can list: it is made of the manifest too.
SIGNATURE_FILE: Final = "model.sig"

#: What may lie beside the files of a bundle: MLflow adds the first to a copy that is downloaded by name and
#: version, `training.sign` the second.
_ADDED_LATER: Final = frozenset({"registered_model_meta", SIGNATURE_FILE})


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
    config_sha256: str = "",
    evaluation: Evaluation | None = None,
) -> Bundle:
    """Write a bundle into the empty `directory`, read it back and verify it.

    `run_id` and `model_id` are those of MLflow, where the bundle will be stored. The model card shows
    `evaluation`; without one the model is evaluated here. Raises `EstimatorError` when the model holds types
    that are not trusted, or that no server could run; `BundleError`, `StorageError`.
    """
    with storage_errors(directory):
        store_model(directory, model, run_id, model_id)
        parity = write_compiled(directory, model, seed)
        _require_servable(model, parity)
        write_atomically(directory / METRICS_FILE, message_to_json(model.metrics))
        _save_reference(directory, model, seed)
        manifest = build_manifest(
            model,
            name=name,
            sklearn_file=SKLEARN_FILE,
            files=[],
            lineage=trace_lineage(model, seed=seed, run_id=run_id, config_sha256=config_sha256),
            parity=parity,
        )
        card = write_card(model, manifest, evaluation or evaluate(model, seed))
        write_atomically(directory / MODEL_CARD_FILE, card.encode())
        manifest.files.extend(list_files(directory))
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


def _require_servable(model: FittedModel, parity: Parity) -> None:
    """Refuse what no server would run: without ONNX a boosted model is code of a package that it lacks."""
    packages = model.plan.packages
    if packages and not parity.passed:
        reason = f"models of {', '.join(packages)} are served by ONNX only, and {parity.reason}"
        remedy = "choose other parameters, or an estimator of scikit-learn such as HistGradientBoosting"
        raise EstimatorError(model.plan.class_path, reason, remedy)


def _save_reference(directory: Path, model: FittedModel, seed: int) -> None:
    try:
        answers = predict_out_of_sample(model, seed)
    except EstimatorError as error:
        # No reason to lose the model: drift of the features is found all the same. But how sure it is of rows
        # that it was fitted on says nothing about others.
        show_note(f"the predictions in reference.csv are those of rows that were fitted on: {error}")
        answers = Answers(np.asarray(model.estimator.predict(model.inputs())))
    frame = model.table.frame
    features = frame[list(model.table.features)]
    persist_reference_dataset(
        directory / REFERENCE_FILE,
        features,
        answers.predictions.tolist(),
        frame[model.table.target].tolist(),
        answers.confidences,
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
    estimator = load_stored(directory / manifest.sklearn_file)
    inputs = decode_rows(rows, columns_of(manifest.features))
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
