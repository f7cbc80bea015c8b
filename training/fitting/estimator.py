"""From an import path to an estimator: what kind of task it has, and how it is built.

The path names a class, or a function that returns an estimator (a Pipeline, say). XGBoost and LightGBM are
estimators like any other once they are installed.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.ensemble import VotingClassifier

from protos.inference.v1.manifest_pb2 import Task
from training.errors import EstimatorError
from training.fitting.boosting import PARAMETER_PAGES, default_parameters, native_names

__all__ = ["BOOSTING_PACKAGES", "EstimatorPlan", "boosting_packages", "plan_estimator", "reason_of"]

#: Packages of estimators beyond scikit-learn: import name → distributions that may provide it.
BOOSTING_PACKAGES: Final = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost-cpu", "xgboost")}

#: Far more threads than this do not start at all, and joblib then fails with words that help nobody.
_MOST_JOBS: Final = 256

#: What scikit-learn raises for parameters and data, in whole sentences.
_SPEAKING: Final = (ValueError, TypeError)

_REMEDY: Final = "set [estimator] class to an import path such as sklearn.ensemble.RandomForestClassifier"


@dataclass(frozen=True)
class EstimatorPlan:
    """An estimator that can be built again and again, alike; `kind` is a class or a function."""

    class_path: str
    kind: Callable[..., Any]
    parameters: Mapping[str, Any]
    task: "Task.ValueType"
    seed: int = 0

    @property
    def is_classification(self) -> bool:
        """True when a label is predicted, false when a number is."""
        return self.task == Task.TASK_CLASSIFICATION

    @property
    def packages(self) -> list[str]:
        """Import names of the packages beyond scikit-learn that the estimator is made of."""
        return sorted(boosting_packages(self.build()))

    def build(self) -> BaseEstimator:
        """Return a new estimator that nothing was fitted on, with a seed in each of its parts."""
        estimator = self.kind(**self.parameters)
        for name, value in estimator.get_params(deep=True).items():
            if name.endswith("__random_state") and value is None:
                estimator.set_params(**{name: self.seed})
        if self.is_classification and "xgboost" in boosting_packages(estimator):
            # XGBoost takes no labels but 0, 1, 2…; a vote of one keeps the labels, and is stock scikit-learn.
            return VotingClassifier([("estimate", estimator)], voting="soft")
        return estimator


def plan_estimator(class_path: str, parameters: Mapping[str, Any], seed: int) -> EstimatorPlan:
    """Find the class or function, check the parameters' names, and settle the task.

    `random_state` becomes `seed` where there is one and `parameters` do not set it. Raises `EstimatorError`.
    """
    kind = _find(class_path)
    known, open_ended = _known_parameters(class_path, kind)
    package = class_path.partition(".")[0]
    handed_on = native_names(package) if open_ended else frozenset()
    if handed_on is not None:
        _require_known(class_path, parameters, known | handed_on)
    jobs = parameters.get("n_jobs")
    if isinstance(jobs, int) and abs(jobs) > _MOST_JOBS:
        remedy = f"set n_jobs to -1 (every processor) or to at most {_MOST_JOBS}"
        raise EstimatorError(class_path, f"n_jobs = {jobs} is more than a machine has processors", remedy)
    chosen = dict(parameters)
    if "random_state" in known:
        chosen.setdefault("random_state", seed)
    chosen = {**default_parameters(package, chosen), **chosen}
    return EstimatorPlan(class_path, kind, chosen, _task(class_path, kind, chosen), seed)


def _task(class_path: str, kind: Callable[..., Any], parameters: Mapping[str, Any]) -> "Task.ValueType":
    try:
        estimator = kind(**parameters)
    except (Exception, SystemExit) as error:  # somebody else's function: it may raise anything
        text = reason_of(error)
        if inspect.isfunction(kind):
            text = f"it is not a scikit-learn estimator class, and as a function that returns one it fails: {text}"
        raise EstimatorError(class_path, text, "correct [estimator] class or parameters") from error
    if not isinstance(estimator, BaseEstimator):
        reason = f"it is not a scikit-learn estimator class, and gave a {type(estimator).__name__}"
        raise EstimatorError(class_path, reason, _REMEDY)
    if is_classifier(estimator):
        if not hasattr(estimator, "predict_proba"):
            remedy = "choose a classifier that gives probabilities"
            raise EstimatorError(class_path, "it has no predict_proba", remedy)
        return Task.TASK_CLASSIFICATION
    if is_regressor(estimator):
        return Task.TASK_REGRESSION
    remedy = "set [estimator] class to one, such as sklearn.ensemble.RandomForestClassifier"
    raise EstimatorError(class_path, "it is neither a classifier nor a regressor", remedy)


def _find(class_path: str) -> Callable[..., Any]:
    module_name, _, name = class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        package = module_name.partition(".")[0]
        missing = package in BOOSTING_PACKAGES and error.name == package
        remedy = f'install it with the extra: pip install ".[boosting]" ({package})'
        raise EstimatorError(class_path, str(error), remedy if missing else _REMEDY) from None
    except (Exception, SystemExit) as error:  # somebody else's module: it may raise anything
        raise EstimatorError(
            class_path, f"importing {module_name} fails: {reason_of(error)}", _REMEDY
        ) from error
    kind = getattr(module, name, None)
    if kind is None:
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"did you mean {module_name}.{near[0]}?" if near else _REMEDY
        raise EstimatorError(class_path, f"{module_name} has no {name}", hint)
    estimates = isinstance(kind, type) and issubclass(kind, BaseEstimator)
    if not (estimates or inspect.isfunction(kind)):
        reason = "it is not a scikit-learn estimator class, nor a function that returns an estimator"
        raise EstimatorError(class_path, reason, _REMEDY)
    found: Callable[..., Any] = kind
    return found


def _known_parameters(class_path: str, kind: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return the names of the parameters, and whether others are passed on as well."""
    signature = inspect.signature(kind)
    open_ended = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    if inspect.isfunction(kind):
        return set(signature.parameters), open_ended
    try:
        return set(kind().get_params(deep=False)), open_ended
    except TypeError as error:
        remedy = "choose an estimator that can be built without arguments, or write a function that builds it"
        raise EstimatorError(class_path, str(error), remedy) from None
    except (Exception, SystemExit) as error:  # somebody else's class: it may raise anything
        raise EstimatorError(class_path, reason_of(error), _REMEDY) from error


def reason_of(error: BaseException) -> str:
    """Return what somebody else's code raised in one line, with its kind where the words alone say little."""
    text, kind = " ".join(str(error).split()).rstrip("."), type(error).__name__
    if isinstance(error, SystemExit):
        return f"it ends the process with exit code {error.code}"
    if isinstance(error, _SPEAKING) and text:
        return text
    return f"{kind}: {text}" if text else kind


def boosting_packages(estimator: BaseEstimator) -> set[str]:
    """Return the import names of the packages beyond scikit-learn that parts of `estimator` are from."""
    parts = [estimator, *estimator.get_params(deep=True).values()]
    return {type(part).__module__.partition(".")[0] for part in parts} & BOOSTING_PACKAGES.keys()


def _require_known(class_path: str, parameters: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(parameters) - known)
    if unknown:
        reason = f"it has no parameter {', '.join(repr(name) for name in unknown)}"
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        page = PARAMETER_PAGES.get(class_path.partition(".")[0])
        rest = f"see {page}" if page else f"It has {', '.join(sorted(known))}"
        raise EstimatorError(class_path, reason, f"{hint}{rest}")
