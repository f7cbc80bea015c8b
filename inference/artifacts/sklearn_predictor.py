"""Run the scikit-learn model itself, for bundles whose compiled form did not pass parity.

A model file is code as far as its types go. skops files may hold only what skops trusts and what
`TRUSTED_TYPES` adds; the list of the artifact's own `MLmodel` is never read (it is the author of the file who
wrote it, see GHSA-w582-9x45-8mpx of MLflow). Pickles run whatever is in them, so they need a permission.
"""

import importlib
import pickle
import re
import warnings
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.artifacts.bundle import Bundle
from inference.artifacts.outputs import Outputs
from inference.artifacts.tree_check import check_trees
from inference.artifacts.trusted_types import TRUSTED_TYPES
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_CATEGORY, TASK_CLASSIFICATION

__all__ = ["load_sklearn"]

log = structlog.stdlib.get_logger("inference.artifacts")

#: The step of a Pipeline that turns texts into codes.
_ENCODE: Final = "encode"
_REMEDY_EXTRA: Final = (
    "install the extra `training` beside the server (scikit-learn and skops), or compile the model"
)


class _SklearnPredictor:
    """A fitted estimator; scikit-learn does not change one when it predicts, so threads may share it."""

    runtime: Final = "sklearn"

    def __init__(self, model: Any, *, classifies: bool) -> None:  # noqa: ANN401 (any estimator)
        self._model = model
        self._classifies = classifies

    def predict(self, features: NDArray[np.float32]) -> Outputs:
        """Predict for `features` (rows, features)."""
        if self._classifies:
            probabilities = np.asarray(self._model.predict_proba(features), dtype=np.float32)
            return Outputs(class_index=probabilities.argmax(axis=1), probabilities=probabilities)
        values = np.asarray(self._model.predict(features), dtype=np.float64)
        return Outputs(values=values.reshape(len(features)))


def load_sklearn(bundle: Bundle, *, allow_pickle: bool) -> _SklearnPredictor:
    """Load the model file of `bundle`; raises `BundleError` when it may not be or cannot be loaded."""
    name = bundle.manifest.sklearn_file
    _check_versions(bundle)
    if PurePosixPath(name).suffix == ".skops":
        model = _load_skops(bundle)
    elif allow_pickle:
        model = _load_pickle(bundle)
    else:
        reason = f"{name} is a pickle, and loading one runs whatever code is in it"
        remedy = (
            "store the model as skops or compile it, or set MODEL_ALLOW_PICKLE=true if you trust its author"
        )
        raise BundleError(str(bundle.path), reason, remedy)
    model = _without_encoding(bundle, model)
    classifies = bundle.manifest.task == TASK_CLASSIFICATION
    method = "predict_proba" if classifies else "predict"
    if not hasattr(model, method):
        raise BundleError(str(bundle.path), f"the {type(model).__name__} in {name} has no `{method}`")
    _use_one_thread(model)
    return _SklearnPredictor(model, classifies=classifies)


def _without_encoding(bundle: Bundle, model: Any) -> Any:  # noqa: ANN401 (any estimator)
    """Return the part of `model` that takes codes: the server itself turns texts into them, by the manifest."""
    if not any(feature.type == FEATURE_TYPE_CATEGORY for feature in bundle.manifest.features):
        return model
    steps = list(getattr(model, "steps", ()))
    if len(steps) < 2 or steps[0][0] != _ENCODE:
        found = f"{bundle.manifest.sklearn_file} is a {type(model).__name__}"
        reason = (
            f"{found} and for features with categories a Pipeline whose first step is `{_ENCODE}` is expected"
        )
        raise BundleError(str(bundle.path), reason, "register it with `python -m training.train`")
    return model[1:]


def _load_skops(bundle: Bundle) -> Any:  # noqa: ANN401 (any estimator)
    skops = _import(bundle, "skops.io")
    path = bundle.path / bundle.manifest.sklearn_file
    untrusted = sorted(set(skops.get_untrusted_types(file=path)) - set(TRUSTED_TYPES))
    if untrusted:
        reason = f"{path.name} holds types that this server does not trust: {', '.join(untrusted)}"
        remedy = "use estimators of scikit-learn itself, or compile the model to ONNX"
        raise BundleError(str(bundle.path), reason, remedy)
    model = skops.load(path, trusted=list(TRUSTED_TYPES))
    problem = check_trees(model)
    if problem:
        raise BundleError(str(bundle.path), f"{path.name} holds a broken tree: {problem}")
    return model


def _load_pickle(bundle: Bundle) -> Any:  # noqa: ANN401 (any estimator)
    path = bundle.path / bundle.manifest.sklearn_file
    _import(bundle, "sklearn")
    if path.suffix == ".joblib":
        return _import(bundle, "joblib").load(path)
    with path.open("rb") as stream:
        return pickle.load(stream)  # noqa: S301 (only with MODEL_ALLOW_PICKLE)


def _import(bundle: Bundle, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = f"{bundle.manifest.sklearn_file} needs {module}, which cannot be imported: {error}"
        raise BundleError(str(bundle.path), reason, _REMEDY_EXTRA) from error


def _check_versions(bundle: Bundle) -> None:
    """Refuse a model of a newer scikit-learn: it may hold what this one does not know, and ignores."""
    trained = bundle.manifest.lineage.library_versions.get("scikit-learn", "")
    installed = str(_import(bundle, "sklearn").__version__)
    if _release(trained) > _release(installed):
        reason = f"it was trained with scikit-learn {trained} and this server has {installed}"
        remedy = f"install scikit-learn {trained} or later beside the server, or compile the model to ONNX"
        raise BundleError(str(bundle.path), reason, remedy)
    if trained and trained != installed:
        log.warning(
            "scikit-learn differs from the one that trained the model; the golden rows decide",
            trained=trained,
            installed=installed,
        )
    # Rows are positional in the order of the manifest, so names seen in training mean nothing here, and
    # scikit-learn would say so on every call. A filter of the process: `catch_warnings` is unsafe in threads.
    warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _use_one_thread(model: Any) -> None:  # noqa: ANN401 (any estimator)
    # `n_jobs=-1` suits training; in a server each call would start threads that fight with the other calls.
    parameters = [name for name in model.get_params(deep=True) if name.split("__")[-1] == "n_jobs"]
    model.set_params(**dict.fromkeys(parameters, 1))
