"""The drift reference: `feature_0…N`, `prediction`, `target`, what current data are compared with.

It holds **every validated row**, training and held-out. Drift compares distributions, and all rows estimate
the features' best; to leave out those that were trained on would cost four fifths of them.

Every prediction is **out of sample**, as those of live rows are. A model repeats the targets of the rows that
it was fitted on, errors of the labels included, and on new rows it does not: compared with such predictions,
noisy data look drifted in most windows without any drift. So a row that was fitted on is predicted by a model
of the same parameters that was fitted on other rows.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

from training.errors import ConfigError, EstimatorError
from training.fitting.estimator import reason_of
from training.fitting.fit import FittedModel, estimator_errors
from training.storage import write_atomically

__all__ = ["REFERENCE_FILE", "persist_reference_dataset", "predict_out_of_sample"]

REFERENCE_FILE: Final = "reference.csv"

#: The models that predict for the reference learn from four fifths of the rows; of two thirds, as with three
#: folds, they would be further from the model that serves. For 100 trees on Iris 0.5 s instead of 0.3 s.
_FOLDS: Final = 5


def predict_out_of_sample(model: FittedModel, seed: int) -> NDArray[Any]:
    """Predict each row of the table, label or number, by a model that was not fitted on it.

    Held-out rows are predicted by `model` itself, the others by cross-validation. The same for the same model
    and seed. Raises `EstimatorError` when the estimator cannot be fitted on a part of its rows.
    """
    inputs, targets, rows = model.inputs(), model.targets, model.train_rows
    with estimator_errors(model.plan):
        predictions = np.array(model.estimator.predict(inputs)).reshape(len(inputs))
    try:
        with warnings.catch_warnings():
            # What the estimator warns of, its own fit has shown; a class of one row cannot be in each fold.
            warnings.simplefilter("ignore")
            unseen = cross_val_predict(
                model.estimator, inputs.iloc[rows], targets[rows], cv=_folds(model, targets[rows], seed)
            )
    except (Exception, SystemExit) as error:  # somebody else's code: it may raise anything
        reason = f"fitted on a part of its rows, {reason_of(error)}"
        remedy = "add rows, above all of the smallest class, or choose another estimator"
        raise EstimatorError(model.plan.class_path, reason, remedy) from error
    predictions[rows] = unseen.reshape(len(rows))
    return predictions


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
) -> Path:
    """Write a reference dataset as CSV, atomically, and return its path.

    `features` has one row of numbers for each prediction and target (a DataFrame or an array, rows x
    features); its columns are written as `feature_0`, `feature_1` … in their order. Labels are written as
    text, numbers as the shortest text that reads back the same. Raises `ConfigError` when the lengths
    differ, `StorageError` when the file cannot be written.
    """
    frame = pd.DataFrame(features).reset_index(drop=True)
    if not len(frame) == len(predictions) == len(targets):
        problem = (
            f"features have {len(frame)} rows, predictions {len(predictions)}, targets {len(targets)}; "
            "give one of each for every row"
        )
        raise ConfigError([problem], source="persist_reference_dataset")
    frame.columns = pd.Index([f"feature_{index}" for index in range(frame.shape[1])])
    frame["prediction"], frame["target"] = list(predictions), list(targets)
    path = Path(path)
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())
    return path
