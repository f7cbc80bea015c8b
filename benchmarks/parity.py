"""How many rows near split points get another answer from ONNX than from scikit-learn, by estimator and type.

    python -m benchmarks.parity [--json DIR]

Rows are those of the parity check of a bundle (training rows, random rows, rows at and just beside split
thresholds) on three tables of scikit-learn, in float32 and in float64. `rows near splits` counts the rows at
thresholds alone; `ties` have another label because two classes are equally probable, which rounding decides.
The table is in docs/models.md.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.base import BaseEstimator, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from benchmarks.report import say, table, write
from training.bundling.converters import prepare_conversion
from training.bundling.thresholds import splits

__all__ = ["Found", "main", "measure"]

_SEED: Final = 7
#: Rows moved to each threshold, and to the numbers just below and above it.
_ROWS_A_THRESHOLD: Final = 3
_RANDOM_ROWS: Final = 20_000
#: What the parity check of a bundle allows: of a probability, and of a value in spreads.
_PROBABILITY_BOUND: Final = 1e-5
_VALUE_BOUND: Final = 1e-4

_REASON_LENGTH: Final = 200
#: What skl2onnx and ONNX Runtime raise where there is no form for a type of input.
_NO_FORM: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    states.Fail,
    states.InvalidGraph,
    states.NotImplemented,
)

_Numbers = NDArray[Any]


@dataclass(frozen=True)
class Found:
    """One estimator with one type of input: rows compared, and rows beyond the bound or with another label."""

    estimator: str
    table: str
    numbers: str
    rows_near_splits: int = 0
    differ_near_splits: int = 0
    random_rows: int = 0
    differ_at_random: int = 0
    ties: int = 0
    largest: float = 0.0
    no_form: str = ""

    @property
    def share(self) -> float:
        """Share of the rows near splits that differ, in percent."""
        return 100 * self.differ_near_splits / self.rows_near_splits if self.rows_near_splits else 0.0


def _estimators() -> Iterator[tuple[str, BaseEstimator, bool]]:
    """Yield name, estimator, and whether it is for the regression table."""
    yield "DecisionTree", DecisionTreeClassifier(random_state=_SEED), False
    yield "RandomForest", RandomForestClassifier(random_state=_SEED), False
    yield "ExtraTrees", ExtraTreesClassifier(random_state=_SEED), False
    yield "GradientBoosting", GradientBoostingClassifier(random_state=_SEED), False
    yield "HistGradientBoosting", HistGradientBoostingClassifier(random_state=_SEED), False
    yield (
        "StandardScaler + RandomForest",
        make_pipeline(StandardScaler(), RandomForestClassifier(random_state=_SEED)),
        False,
    )
    logistic = LogisticRegression(max_iter=2000)
    yield "StandardScaler + LogisticRegression", make_pipeline(StandardScaler(), logistic), False
    yield "RandomForest (regression)", RandomForestRegressor(random_state=_SEED), True
    yield "HistGradientBoosting (regression)", HistGradientBoostingRegressor(random_state=_SEED), True
    try:
        from lightgbm import LGBMClassifier  # noqa: PLC0415  # an extra
        from xgboost import XGBClassifier  # noqa: PLC0415
    except ImportError:
        sys.stderr.write("note: XGBoost and LightGBM are not installed (extra `boosting`)\n")
        return
    yield "XGBoost", XGBClassifier(random_state=_SEED), False
    yield "LightGBM", LGBMClassifier(random_state=_SEED, verbosity=-1), False


def measure() -> list[Found]:
    """Fit every estimator on its tables and compare."""
    tables = {"breast cancer": load_breast_cancer, "wine": load_wine, "diabetes": load_diabetes}
    found = []
    for name, estimator, regression in _estimators():
        for title, load in tables.items():
            if (title == "diabetes") != regression:
                continue
            features, target = load(return_X_y=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that were not given
                estimator.fit(features.astype(np.float32), target)
                kinds = (np.float32, np.float64)
                found += [_compare(name, title, estimator, features, kind) for kind in kinds]
    return found


def _compare(name: str, title: str, estimator: BaseEstimator, features: _Numbers, kind: type[Any]) -> Found:
    random = np.random.default_rng(_SEED)
    near = _near_splits(estimator, features, random).astype(kind)
    low, high = features.min(axis=0), features.max(axis=0)
    anywhere = random.uniform(low, high, (_RANDOM_ROWS, features.shape[1])).astype(kind)
    numbers = np.dtype(kind).name
    try:
        run = _session(estimator, features.shape[1], kind)
    except _NO_FORM as error:
        return Found(name, title, numbers, no_form=" ".join(str(error).split())[:_REASON_LENGTH])
    differ, ties, largest = [], 0, 0.0
    for rows in (near, anywhere):
        wrong, tied, most = _differences(estimator, run, rows) if len(rows) else (0, 0, 0.0)
        differ.append(wrong)
        ties, largest = ties + tied, max(largest, most)
    return Found(name, title, numbers, len(near), differ[0], len(anywhere), differ[1], ties, largest)


def _near_splits(estimator: BaseEstimator, features: _Numbers, random: np.random.Generator) -> _Numbers:
    """Return rows with one feature at a threshold, or at the number of its type just below or above it."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    found = np.array(sorted(set(splits(last))), dtype=np.float64)
    if not len(found):
        return np.empty((0, features.shape[1]))
    if hasattr(estimator, "steps"):  # a threshold behind a scaler, in the units of the table
        scaler = estimator[0]
        places = found[:, 0].astype(int)
        found[:, 1] = found[:, 1] * scaler.scale_[places] + scaler.mean_[places]
    repeated = np.repeat(found, _ROWS_A_THRESHOLD, axis=0)
    parts = []
    for step in (0.0, -np.inf, np.inf):
        rows = features[random.integers(len(features), size=len(repeated))].copy()
        values = (
            repeated[:, 1]
            if step == 0.0
            else np.nextafter(repeated[:, 1].astype(np.float32), np.float32(step))
        )
        rows[np.arange(len(rows)), repeated[:, 0].astype(int)] = values
        parts.append(rows)
    return np.concatenate(parts)


def _session(estimator: BaseEstimator, width: int, kind: type[Any]) -> onnxruntime.InferenceSession:
    prepared = estimator if hasattr(estimator, "steps") else prepare_conversion(estimator)
    tensor = FloatTensorType if kind is np.float32 else DoubleTensorType
    onnx = to_onnx(
        prepared,
        initial_types=[("input", tensor([None, width]))],
        options={id(prepared): {"zipmap": False}} if is_classifier(estimator) else None,
        # Of the operator sets that we use, trees take float64 in none: they are asked for in an older one.
        target_opset={"": 18, "ai.onnx.ml": 3 if kind is np.float32 else 1},
    )
    return onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])


def _differences(
    estimator: BaseEstimator, run: onnxruntime.InferenceSession, rows: _Numbers
) -> tuple[int, int, float]:
    """Return how many rows differ, how many get another label at a tie, and the largest difference."""
    outputs = run.run(None, {"input": rows})
    if is_classifier(estimator):
        shares = estimator.predict_proba(rows)
        distance = np.abs(outputs[1] - shares).max(axis=1)
        two = np.sort(shares, axis=1)[:, -2:]
        tied = two[:, 1] - two[:, 0] <= 2 * _PROBABILITY_BOUND
        other = outputs[0] != estimator.predict(rows)
        wrong = (other & ~tied) | (distance > _PROBABILITY_BOUND)
        ties = int((other & ~wrong).sum())
    else:
        expected = estimator.predict(rows)
        distance = np.abs(outputs[0].ravel() - expected) / np.ptp(expected)
        wrong, ties = distance > _VALUE_BOUND, 0
    return int(wrong.sum()), ties, float(distance.max())


def main() -> int:
    """Measure, show the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there")
    arguments = parser.parse_args()
    found = measure()
    head = (
        "estimator",
        "table",
        "input",
        "rows near splits",
        "differ",
        "random rows",
        "differ",
        "ties",
        "largest",
    )
    say(table(head, [_shown(one) for one in found]))
    write(arguments.json, "parity", [asdict(one) for one in found])
    return 0


def _shown(one: Found) -> tuple[object, ...]:
    if one.no_form:
        return (one.estimator, one.table, one.numbers, "no form", *["–"] * 5)
    near = f"{one.differ_near_splits} ({one.share:.1f} %)" if one.rows_near_splits else "–"
    return (
        *(one.estimator, one.table, one.numbers, one.rows_near_splits or "–", near),
        *(one.random_rows, one.differ_at_random, one.ties, f"{one.largest:.1g}"),
    )


if __name__ == "__main__":
    sys.exit(main())
