"""The drift reference: what current data are compared with, one row for every row of the table.

    feature_0…N, prediction, target
    confidence    of a classifier: its probability of the label in `prediction`, float32 as servers compute it

It holds **every validated row**, training and held-out. Drift compares distributions, and all rows estimate
the features' best; to leave out those that were trained on would cost four fifths of them.

Every prediction is **out of sample**, as those of live rows are. A model repeats the targets of the rows that
it was fitted on, errors of the labels included, and on new rows it does not: compared with such predictions,
noisy data look drifted in most windows without any drift. So a row that was fitted on is predicted by a model
of the same parameters that was fitted on other rows. The confidence of a row is that of the same fit: together
with the targets it says how often the model is right when it is so sure.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import KFold, StratifiedKFold

from training.errors import ConfigError
from training.fitting.failures import estimator_errors
from training.fitting.fit import FittedModel
from training.storage import write_atomically

__all__ = ["REFERENCE_FILE", "Answers", "persist_reference_dataset", "predict_out_of_sample"]

REFERENCE_FILE: Final = "reference.csv"

#: The models that predict for the reference learn from four fifths of the rows; of two thirds, as with three
#: folds, they would be further from the model that serves. For 100 trees on Iris 0.5 s instead of 0.3 s.
_FOLDS: Final = 5
_DOING: Final = "fitted on a part of its rows, "
_REMEDY: Final = "add rows, above all of the smallest class, or choose another estimator"


@dataclass(frozen=True)
class Answers:
    """What is said to rows, in their order: labels or numbers, and how sure a classifier is of each label.

    A confidence is the probability of the label that is said. It is the highest of the row, but for the few
    estimators whose `predict` goes by something else. Without probabilities there are none.
    """

    predictions: NDArray[Any]
    confidences: NDArray[np.float32] | None = None


def predict_out_of_sample(model: FittedModel, seed: int) -> Answers:
    """Predict each row of the table, label or number, by a model that was not fitted on it.

    Held-out rows are predicted by `model` itself, the others by cross-validation. The same for the same model
    and seed. Raises `EstimatorError` when the estimator cannot be fitted on a part of its rows.
    """
    inputs, held_out, fitted = model.inputs(), model.held_out_rows, model.train_rows
    targets = model.targets[fitted]
    with estimator_errors(model.plan):
        parts = [_answers(model, model.estimator, inputs.iloc[held_out])]
    places = [held_out]
    with estimator_errors(model.plan, _DOING, _REMEDY), warnings.catch_warnings():
        # What the estimator warns of, its own fit has shown; a class of one row cannot be in each fold.
        warnings.simplefilter("ignore")
        for inner, outer in _folds(model, targets, seed).split(fitted, targets):
            estimator = clone(model.estimator)
            estimator.fit(inputs.iloc[fitted[inner]], targets[inner])
            parts.append(_answers(model, estimator, inputs.iloc[fitted[outer]]))
            places.append(fitted[outer])
    order = np.argsort(np.concatenate(places))
    confidences = [part.confidences for part in parts if part.confidences is not None]
    return Answers(
        np.concatenate([part.predictions for part in parts])[order],
        np.concatenate(confidences)[order] if confidences else None,
    )


def _answers(model: FittedModel, estimator: BaseEstimator, inputs: pd.DataFrame) -> Answers:
    predictions = np.asarray(estimator.predict(inputs)).reshape(len(inputs))
    if not model.plan.is_classification:
        return Answers(predictions)
    shares = np.asarray(estimator.predict_proba(inputs), dtype=np.float32)
    # Of this fit: a fold may lack a class of the table, and its columns are those of the classes it has.
    columns = np.searchsorted(estimator.classes_, predictions)
    return Answers(predictions, shares[np.arange(len(inputs)), columns])


def _folds(model: FittedModel, targets: NDArray[Any], seed: int) -> KFold | StratifiedKFold:
    if not model.plan.is_classification:
        return KFold(max(2, min(_FOLDS, len(targets))), shuffle=True, random_state=seed)
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    return StratifiedKFold(max(2, min(_FOLDS, smallest)), shuffle=True, random_state=seed)


def persist_reference_dataset(
    path: Path | str,
    features: pd.DataFrame | NDArray[np.floating],
    predictions: Sequence[str | float],
    targets: Sequence[str | float],
    confidences: Sequence[float] | NDArray[np.floating] | None = None,
) -> Path:
    """Write a reference dataset as CSV, atomically, and return its path.

    `features` has one row of numbers for each prediction and target (a DataFrame or an array, rows x
    features); its columns are written as `feature_0`, `feature_1` … in their order. `confidences`, if there
    are any, are the probabilities (0-1) of the predicted labels, and become a last column. Labels are written
    as text, numbers as the shortest text that reads back the same, confidences as float32. Raises
    `ConfigError` when the lengths differ, `StorageError` when the file cannot be written.
    """
    frame = pd.DataFrame(features).reset_index(drop=True)
    lengths = {"predictions": len(predictions), "targets": len(targets)}
    if confidences is not None:
        lengths["confidences"] = len(confidences)
    if {*lengths.values()} != {len(frame)}:
        others = ", ".join(f"{name} {length}" for name, length in lengths.items())
        problem = f"features have {len(frame)} rows, {others}; give one of each for every row"
        raise ConfigError([problem], source="persist_reference_dataset")
    frame.columns = pd.Index([f"feature_{index}" for index in range(frame.shape[1])])
    frame["prediction"], frame["target"] = list(predictions), list(targets)
    if confidences is not None:
        frame["confidence"] = np.asarray(confidences, dtype=np.float32)
    path = Path(path)
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())
    return path
