"""The forest of the bundle in the forms that peers load, and what scikit-learn says of rows with it.

Peers get it cheaper than we have it: class numbers for names of classes, and no names of features, for which
scikit-learn would warn at each call. Its trees are untouched.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import joblib
import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from training.bundling.bundle import TRUSTED_TYPES

__all__ = ["SEED", "Forest", "lay_down"]

#: Of the rows that answers are compared on.
SEED: Final = 20261123
#: Beside the 150 of Iris; drawn from a box that is wider than those by one on each side.
_RANDOM_ROWS: Final = 2048


@dataclass(frozen=True)
class Forest:
    """One fitted forest."""

    bundle: Path
    joblib_file: Path
    onnx_file: Path
    #: Names of the classes, by number.
    classes: tuple[str, ...]
    #: (n, 4) rows to compare answers on.
    rows: NDArray[np.float32]
    #: (n,) the numbers of the classes that scikit-learn predicts for them.
    expected: NDArray[np.int64]


def lay_down(bundle: Path, directory: Path) -> Forest:
    """Write the forest of `bundle` for peers into `directory`."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    classes = tuple(manifest["classes"])
    estimator = skops.io.load(bundle / manifest["sklearn_file"], trusted=list(TRUSTED_TYPES))
    if list(estimator.classes_) != list(classes):
        raise RuntimeError(f"the forest has the classes {estimator.classes_}, its manifest {classes}")
    estimator.classes_ = np.arange(len(classes))
    del estimator.feature_names_in_
    path = directory / "model.joblib"
    joblib.dump(estimator, path)
    rows = _rows()
    return Forest(bundle, path, bundle / "model.onnx", classes, rows, estimator.predict(rows))


def _rows() -> NDArray[np.float32]:
    measured = load_iris().data
    low, high = measured.min(axis=0) - 1, measured.max(axis=0) + 1
    drawn = np.random.default_rng(SEED).uniform(low, high, (_RANDOM_ROWS, measured.shape[1]))
    return np.concatenate([measured, drawn]).astype(np.float32)
