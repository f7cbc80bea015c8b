"""The scikit-learn model of a bundle: the stock MLflow flavour, stored by skops, with signature and example."""

import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import mlflow.sklearn
import skops.io
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from sklearn.base import BaseEstimator

from training.bundling.lineage import boosting_versions
from training.bundling.trusted_types import BOOSTING_TYPES, TRUSTED_TYPES
from training.errors import EstimatorError
from training.fitting.fit import FittedModel

__all__ = ["SKLEARN_FILE", "load_stored", "store_model"]

SKLEARN_FILE: Final = "model.skops"
_EXAMPLE_ROWS: Final = 2


def store_model(directory: Path, model: FittedModel, run_id: str, model_id: str | None) -> None:
    """Write `MLmodel` and all that belongs to it into the empty `directory`.

    Raises `EstimatorError` when the model holds types that are not trusted.
    """
    features = model.table.frame[list(model.table.features)]
    packages = {name: version(name) for name in ("numpy", "scikit-learn", "skops")}
    packages |= boosting_versions(model.plan)
    with warnings.catch_warnings():
        # The hint about whole numbers and missing values: the contract says which may be missing.
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
            pip_requirements=[f"{name}=={number}" for name, number in packages.items()],
            skops_trusted_types=_trusted(model.plan.packages),
        )
    except MlflowException as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None  # a full disk, which MLflow takes for a model that is no model
        remedy = "choose an estimator that skops can store safely, such as a forest or a linear model"
        raise EstimatorError(model.plan.class_path, _why_not_stored(error), remedy) from error


def load_stored(path: Path) -> BaseEstimator:
    """Load a model file that this training wrote."""
    return skops.io.load(path, trusted=[*TRUSTED_TYPES, *BOOSTING_TYPES])


def _trusted(packages: Sequence[str]) -> list[str]:
    return [*TRUSTED_TYPES, *(BOOSTING_TYPES if packages else ())]


def _why_not_stored(error: MlflowException) -> str:
    untrusted = re.search(r"Untrusted types found in the file: \[(.*?)\]", str(error.message))
    if untrusted:
        return f"it holds types that are not trusted when a model is loaded: {untrusted[1]}"
    return str(error.__cause__ or error.message).partition("\n")[0].rstrip(".")
