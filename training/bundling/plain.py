"""Read a plain MLflow scikit-learn model: what it is, what it takes, and where it came from.

Nothing in the directory is believed: the file is a skops file of trusted types, or a pickle that somebody
permitted, and features, classes and task are those of the estimator that comes out of it.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pandas as pd
import skops.io
from mlflow.models import Model
from sklearn.base import BaseEstimator, is_classifier, is_regressor

from protos.inference.v1.manifest_pb2 import FeatureType, Lineage, ModelMetrics, Task
from training.bundling.plain_features import PlainFeature, describe_error, read_features
from training.bundling.plain_rows import make_rows, read_example
from training.contracts.validated import ValidatedTable
from training.data.columns import Column
from training.errors import BundleError
from training.fitting.estimator import EstimatorPlan
from training.fitting.fit import FittedModel

__all__ = ["PlainModel", "known_metrics", "read_plain", "trace_plain"]

_MLMODEL_FILE: Final = "MLmodel"
_TARGET: Final = "target"
#: Libraries that shape the bundle here, beside those that made the model there.
_COMPILERS: Final = ("onnx", "skl2onnx")
_REMEDY: Final = (
    "register it with `python -m training.train`, or log it as a scikit-learn model of one output"
)


@dataclass(frozen=True)
class PlainModel:
    """A plain model that was read: `example_rows` are the places of its input example in the table."""

    model: FittedModel
    sklearn_file: str
    example_rows: tuple[int, ...]
    mlmodel: Model


def read_plain(directory: Path, name: str, trusted_types: Sequence[str], *, allow_pickle: bool) -> PlainModel:
    """Load the model in `directory` and make a table of rows for it. Raises `BundleError`."""
    try:
        mlmodel = Model.load(str(directory))
    except MemoryError:
        raise
    except Exception as error:  # somebody else's file: MLflow checks little of it
        reason = f"its {_MLMODEL_FILE} cannot be read: {describe_error(error)}"
        raise BundleError(str(directory), reason, _REMEDY) from error
    flavor = _sklearn_flavor(directory, mlmodel)
    file = str(flavor.get("pickled_model", ""))
    if PurePosixPath(file).name != file or not (directory / file).is_file():
        reason = f"its {_MLMODEL_FILE} names the model file {file!r}, which is not there"
        raise BundleError(str(directory), reason, _REMEDY)
    _require_known_version(directory, str(flavor.get("sklearn_version", "")))
    estimator = _load(directory / file, trusted_types, allow_pickle=allow_pickle)
    plan = _plan(directory, estimator)
    features = read_features(directory, mlmodel.signature, estimator)
    example = read_example(directory, mlmodel, features)
    frame = make_rows(estimator, features, example)
    model = _fitted(directory, name, estimator, plan, frame, features)
    return PlainModel(model, file, tuple(range(len(example))), mlmodel)


def known_metrics(model: FittedModel, found: Mapping[str, float]) -> ModelMetrics | None:
    """Return the metrics of the run that have a place in `metrics.json`; None when there are none."""
    names = ("accuracy", "f1_macro", "log_loss") if model.plan.is_classification else ("r2", "mae", "rmse")
    metrics = ModelMetrics()
    for name in names:
        if np.isfinite(found.get(name, np.nan)):
            setattr(metrics, name, found[name])
    return metrics if metrics.ListFields() else None


def trace_plain(plain: PlainModel, run_id: str) -> Lineage:
    """Say what is known of the making: the versions and the time that MLflow noted, nothing of this machine."""
    flavors = plain.mlmodel.flavors
    noted = {
        "mlflow": plain.mlmodel.mlflow_version,
        "python": flavors.get("python_function", {}).get("python_version"),
        "scikit-learn": flavors["sklearn"].get("sklearn_version"),
        **{name: version(name) for name in _COMPILERS},
    }
    lineage = Lineage(
        estimator=plain.model.plan.class_path,
        library_versions={name: str(value) for name, value in noted.items() if value},
        mlflow_run_id=run_id,
    )
    try:
        made = datetime.fromisoformat(str(plain.mlmodel.utc_time_created))
    except ValueError:
        return lineage
    lineage.trained_at.FromDatetime(made.replace(microsecond=0))
    return lineage


def _sklearn_flavor(directory: Path, mlmodel: Model) -> Mapping[str, Any]:
    flavors = mlmodel.flavors
    flavor = flavors.get("sklearn") if isinstance(flavors, dict) else None
    if isinstance(flavor, dict):
        return flavor
    found = ", ".join(sorted(map(str, flavors))) if isinstance(flavors, dict) and flavors else "none"
    reason = f"it has no manifest.json, and its MLflow flavors are {found} where sklearn is expected"
    raise BundleError(str(directory), reason, _REMEDY)


def _require_known_version(directory: Path, trained: str) -> None:
    installed = version("scikit-learn")
    if _release(trained) > _release(installed):
        reason = f"it was trained with scikit-learn {trained} and {installed} is installed here"
        raise BundleError(str(directory), reason, f"install scikit-learn {trained} or later here")


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _load(file: Path, trusted_types: Sequence[str], *, allow_pickle: bool) -> BaseEstimator:
    directory = str(file.parent)
    if file.suffix != ".skops" and not allow_pickle:
        reason = f"{file.name} is a pickle, and loading one runs whatever code is in it"
        remedy = (
            "log it with serialization_format='skops', or set MODEL_ALLOW_PICKLE=true if you trust its author"
        )
        raise BundleError(directory, reason, remedy)
    try:
        if file.suffix != ".skops":
            with file.open("rb") as stream:
                return pickle.load(stream)  # noqa: S301 (only when permitted)
        untrusted = sorted(set(skops.io.get_untrusted_types(file=file)) - set(trusted_types))
        if not untrusted:
            return skops.io.load(file, trusted=list(trusted_types))
    except MemoryError:
        raise
    except Exception as error:
        reason = f"loading {file.name} failed: {describe_error(error)}"
        raise BundleError(directory, reason, _REMEDY) from error
    reason = f"{file.name} holds types that this server does not trust: {', '.join(untrusted)}"
    raise BundleError(directory, reason, "use estimators of scikit-learn itself")


def _plan(directory: Path, estimator: BaseEstimator) -> EstimatorPlan:
    kind = type(estimator)
    path = f"{kind.__module__}.{kind.__qualname__}"
    if is_classifier(estimator) and hasattr(estimator, "predict_proba"):
        if np.asarray(estimator.classes_, dtype=object).ndim != 1 or isinstance(estimator.classes_, list):
            raise BundleError(str(directory), f"the {kind.__name__} predicts several labels a row", _REMEDY)
        return EstimatorPlan(path, kind, {}, Task.TASK_CLASSIFICATION)
    if is_classifier(estimator):
        raise BundleError(str(directory), f"the {kind.__name__} has no predict_proba", _REMEDY)
    if is_regressor(estimator):
        return EstimatorPlan(path, kind, {}, Task.TASK_REGRESSION)
    raise BundleError(str(directory), f"the {kind.__name__} is neither a classifier nor a regressor", _REMEDY)


def _fitted(
    directory: Path,
    name: str,
    estimator: BaseEstimator,
    plan: EstimatorPlan,
    frame: pd.DataFrame,
    features: Sequence[PlainFeature],
) -> FittedModel:
    """Put the table together that compiling and golden rows are made from: its target is what the model says."""
    names = tuple(feature.name for feature in features)
    target = _TARGET
    while target in names:
        target += "_"
    whole, fraction = FeatureType.FEATURE_TYPE_INTEGER, FeatureType.FEATURE_TYPE_FLOAT
    columns = tuple(Column(feature.name, whole if feature.whole else fraction) for feature in features)
    table = ValidatedTable(name, "", frame, target, names, columns)
    rows = np.arange(len(frame))
    model = FittedModel(estimator, plan, table, rows, ModelMetrics())
    try:
        predicted = np.asarray(estimator.predict(model.inputs()))
        frame[target] = predicted.reshape(len(frame))
    except MemoryError:
        raise
    except Exception as error:
        reason = f"predicting {len(frame)} rows of {len(names)} features failed: {describe_error(error)}"
        raise BundleError(str(directory), reason, _REMEDY) from error
    return model
