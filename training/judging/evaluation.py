"""What a model does on held-out rows, beyond one figure: which classes it mixes up, how sure it may be, and why.

Every number is a function of the model, the table and the seed. `evaluation_files` writes them as JSON and as
figures; the model card shows the tables.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.inspection import permutation_importance

from training.fitting.failures import estimator_errors
from training.fitting.fit import FittedModel
from training.judging.calibration import Calibration, calibrate

__all__ = ["ClassScore", "Confusion", "Evaluation", "FeatureImportance", "Residuals", "evaluate"]

#: Times that each feature is shuffled; scikit-learn's own default.
_REPEATS: Final = 5
#: Held-out rows that features are shuffled in. More do not change the order of the features, only the time.
_IMPORTANCE_ROWS: Final = 2000
#: Rows of a figure of single rows; more are a blot.
_SHOWN_ROWS: Final = 1000


@dataclass(frozen=True)
class ClassScore:
    """How one class fares: precision, recall and F1, 0 to 1, and its held-out rows."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Confusion:
    """Held-out rows by class: `counts[true][predicted]`, in the order of `labels`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FeatureImportance:
    """How much the score (accuracy or r2) falls when a feature is shuffled: mean and deviation over repeats."""

    feature: str
    mean: float
    std: float


@dataclass(frozen=True)
class Residuals:
    """Truth and prediction of held-out rows (at most 1000), and the quantiles of all residuals."""

    truth: tuple[float, ...]
    predicted: tuple[float, ...]
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """All of it; what does not fit the task is empty or None. `rows` are those held out."""

    rows: int
    classes: tuple[ClassScore, ...]
    confusion: Confusion | None
    calibration: Calibration | None
    residuals: Residuals | None
    importance: tuple[FeatureImportance, ...]


def evaluate(model: FittedModel, seed: int) -> Evaluation:
    """Evaluate `model` on its held-out rows; the same for the same model and seed. Raises `EstimatorError`."""
    rows = model.held_out_rows
    inputs, truth = model.inputs().iloc[rows], model.targets[rows]
    with estimator_errors(model.plan):
        importance = _importance(model, inputs, truth, seed)
        if not model.plan.is_classification:
            return Evaluation(len(rows), (), None, None, _residuals(model, inputs, truth), importance)
        predicted = model.predict(inputs)
        shares = model.probabilities(inputs)
    true = np.searchsorted(np.asarray(model.classes), truth)
    labels = tuple(str(label) for label in model.classes)
    counts = metrics.confusion_matrix(true, predicted, labels=range(len(labels)))
    confusion = Confusion(labels, tuple(tuple(row) for row in counts.tolist()))
    classes = _class_scores(labels, true, predicted)
    return Evaluation(len(rows), classes, confusion, calibrate(true, shares, labels), None, importance)


def _class_scores(
    labels: tuple[str, ...], true: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[ClassScore, ...]:
    scores = metrics.precision_recall_fscore_support(
        true, predicted, labels=range(len(labels)), zero_division=0
    )
    return tuple(
        ClassScore(label, float(precision), float(recall), float(f1), int(rows))
        for label, precision, recall, f1, rows in zip(labels, *scores, strict=True)
    )


def _importance(
    model: FittedModel, inputs: pd.DataFrame, truth: NDArray[Any], seed: int
) -> tuple[FeatureImportance, ...]:
    """Shuffle the table's own columns, a category with all its texts at once."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(truth))[:_IMPORTANCE_ROWS])
    found = permutation_importance(
        model.estimator,
        inputs.iloc[chosen],
        truth[chosen],
        scoring="accuracy" if model.plan.is_classification else "r2",
        n_repeats=_REPEATS,
        random_state=seed,
    )
    named = [
        FeatureImportance(name, float(mean), float(std))
        for name, mean, std in zip(
            model.table.features, found.importances_mean, found.importances_std, strict=True
        )
    ]
    return tuple(sorted(named, key=lambda one: -one.mean))


def _residuals(model: FittedModel, inputs: pd.DataFrame, truth: NDArray[Any]) -> Residuals:
    predicted = model.predict(inputs)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    quantiles = dict(zip(map(str, levels), np.quantile(truth - predicted, levels).tolist(), strict=True))
    shown = np.linspace(0, len(truth) - 1, min(_SHOWN_ROWS, len(truth))).round().astype(int)
    return Residuals(
        tuple(float(value) for value in truth[shown]), tuple(predicted[shown].tolist()), quantiles
    )
