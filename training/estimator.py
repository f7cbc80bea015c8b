"""From an import path to an estimator: what kind of task it has, and how it is built."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sklearn.base import BaseEstimator, is_classifier, is_regressor

from protos.inference.v1.manifest_pb2 import Task
from training.errors import EstimatorError

__all__ = ["EstimatorPlan", "plan_estimator"]

#: Far more threads than this do not start at all, and joblib then fails with words that help nobody.
_MOST_JOBS: Final = 256


@dataclass(frozen=True)
class EstimatorPlan:
    """An estimator that can be built again and again, alike."""

    class_path: str
    kind: type[Any]
    parameters: Mapping[str, Any]
    task: "Task.ValueType"

    @property
    def is_classification(self) -> bool:
        """True when a label is predicted, false when a number is."""
        return self.task == Task.TASK_CLASSIFICATION

    def build(self) -> BaseEstimator:
        """Return a new estimator that nothing was fitted on."""
        return self.kind(**self.parameters)


def plan_estimator(class_path: str, parameters: Mapping[str, Any], seed: int) -> EstimatorPlan:
    """Find the class, check the parameters' names, and settle the task.

    `random_state` becomes `seed` where the class has it and `parameters` do not set it. Raises
    `EstimatorError`.
    """
    kind = _find(class_path)
    try:
        known = kind().get_params(deep=False)
    except TypeError as error:
        remedy = "choose an estimator that can be built without arguments"
        raise EstimatorError(class_path, str(error), remedy) from None
    _require_known(class_path, parameters, known)
    jobs = parameters.get("n_jobs")
    if isinstance(jobs, int) and abs(jobs) > _MOST_JOBS:
        remedy = f"set n_jobs to -1 (every processor) or to at most {_MOST_JOBS}"
        raise EstimatorError(class_path, f"n_jobs = {jobs} is more than a machine has processors", remedy)
    chosen = dict(parameters)
    if "random_state" in known:
        chosen.setdefault("random_state", seed)
    estimator = kind(**chosen)
    if is_classifier(estimator):
        if not hasattr(estimator, "predict_proba"):
            remedy = "choose a classifier that gives probabilities"
            raise EstimatorError(class_path, "it has no predict_proba", remedy)
        return EstimatorPlan(class_path, kind, chosen, Task.TASK_CLASSIFICATION)
    if is_regressor(estimator):
        return EstimatorPlan(class_path, kind, chosen, Task.TASK_REGRESSION)
    remedy = "set [estimator] class to one, such as sklearn.ensemble.RandomForestClassifier"
    raise EstimatorError(class_path, "it is neither a classifier nor a regressor", remedy)


def _find(class_path: str) -> type[Any]:
    module_name, _, name = class_path.rpartition(".")
    remedy = "set [estimator] class to an import path such as sklearn.ensemble.RandomForestClassifier"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EstimatorError(class_path, str(error), remedy) from None
    kind = getattr(module, name, None)
    if kind is None:
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"did you mean {module_name}.{near[0]}?" if near else remedy
        raise EstimatorError(class_path, f"{module_name} has no {name}", hint)
    if not (isinstance(kind, type) and issubclass(kind, BaseEstimator)):
        raise EstimatorError(class_path, "it is not a scikit-learn estimator class", remedy)
    return kind


def _require_known(class_path: str, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        reason = f"it has no parameter {_quoted(unknown)}"
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise EstimatorError(class_path, reason, f"{hint}It has {', '.join(sorted(known))}")


def _quoted(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
