"""The drift reference: `feature_0…N`, `prediction`, `target`, what current data are compared with.

It holds **every validated row**, training and held-out. Drift compares distributions, and all rows estimate
the features' best; to leave out those that were trained on would cost four fifths of them. The price: on
training rows the prediction is nearly always the target, so the share of each predicted class is that of the
data, not that of the model's errors.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import ConfigError
from training.storage import write_atomically

__all__ = ["persist_reference_dataset"]


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
