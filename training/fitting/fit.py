"""Split, fit, measure: a validated table becomes a model and the figures of its held-out rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.base import BaseEstimator

from protos.inference.v1.manifest_pb2 import ModelMetrics
from training.configuration.sections import PreprocessingSection, SplitSection
from training.contracts.validated import ValidatedTable
from training.data.columns import Column, decode_rows, encode_rows
from training.fitting.estimator import EstimatorPlan
from training.fitting.failures import estimator_errors
from training.fitting.preprocessing import assemble
from training.fitting.split import kind_of, split_rows, targets_of
from training.judging.intervals import accuracy_interval, r2_interval

__all__ = ["FittedModel", "fit_model", "score"]


@dataclass(frozen=True)
class FittedModel:
    """A fitted scikit-learn estimator with the table it comes from.

    It was fitted on the table's own columns in a DataFrame (so it knows their names), numbers as float32, and
    on the original labels, so that anybody who loads it with stock MLflow gets labels back. The **matrix** is
    the same rows in numbers alone: codes for categories, NaN for what is missing. The **class index** of a
    label is its place in `estimator.classes_`, which is the column of its probability.
    """

    estimator: BaseEstimator
    plan: EstimatorPlan
    table: ValidatedTable
    train_rows: NDArray[np.int64]
    metrics: ModelMetrics
    split: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features in the order of a row."""
        return self.table.columns

    @property
    def classes(self) -> list[Any]:
        """Labels in class-index order; empty for regression."""
        return list(self.estimator.classes_) if self.plan.is_classification else []

    @property
    def targets(self) -> NDArray[Any]:
        """The label or number of each row of the table, as the estimator takes it."""
        return targets_of(self.table)

    @property
    def held_out_rows(self) -> NDArray[np.int64]:
        """The rows of the table that the model was not fitted on."""
        return np.setdiff1d(np.arange(len(self.table.frame)), self.train_rows)

    def matrix(self, rows: pd.DataFrame | None = None) -> NDArray[np.float32]:
        """Return `rows` of the table (None: all) as compiled models take them."""
        return encode_rows(self.table.frame if rows is None else rows, self.columns)

    def inputs(self, rows: pd.DataFrame | NDArray[np.float32] | None = None) -> pd.DataFrame:
        """Return `rows` (of the table, or of the matrix; None: the whole table) as the estimator takes them.

        Numbers go through float32, the type in which every runtime computes, once and here.
        """
        if rows is None:
            return self._all_inputs.copy()  # somebody else's model may write to what it is given
        return decode_rows(rows if isinstance(rows, np.ndarray) else self.matrix(rows), self.columns)

    @cached_property
    def _all_inputs(self) -> pd.DataFrame:
        return decode_rows(self.matrix(), self.columns)

    def predict(self, inputs: pd.DataFrame) -> NDArray[Any]:
        """Return the class index (int64) of each row, or its value (float64). Raises `EstimatorError`."""
        with estimator_errors(self.plan):
            predicted = self.estimator.predict(inputs)
            if not self.plan.is_classification:
                return np.asarray(predicted, dtype=np.float64).reshape(len(inputs))
            indexes: NDArray[np.int64] = np.searchsorted(self.estimator.classes_, predicted)
            return indexes

    def probabilities(self, inputs: pd.DataFrame) -> NDArray[np.float64]:
        """Return rows x classes. Raises `EstimatorError`."""
        with estimator_errors(self.plan):
            return np.asarray(self.estimator.predict_proba(inputs), dtype=np.float64)


def fit_model(
    table: ValidatedTable,
    plan: EstimatorPlan,
    split: SplitSection,
    preprocessing: tuple[PreprocessingSection, ...] | None = None,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> FittedModel:
    """Hold rows out, fit on the rest, measure on those held out; `rows` is what `split_rows` gave already.

    Raises `ContractError` when the rows do not suffice for the split, `EstimatorError` when fitting fails,
    `ConfigError` for a preprocessing of columns that do not exist.
    """
    train, test = rows or split_rows(table, split, plan.is_classification)
    target = targets_of(table)
    inputs = decode_rows(encode_rows(table.frame, table.columns), table.columns)
    with estimator_errors(plan):
        estimator = assemble(plan.build(), table.columns, preprocessing, split.seed)
        estimator.fit(inputs.iloc[train], target[train])
        figures = _measure(estimator, plan, inputs.iloc[test], target[test], split.seed)
    figures.train_rows, figures.test_rows = len(train), len(test)
    kind = kind_of(split, plan.is_classification)
    return FittedModel(estimator, plan, table, np.sort(train), figures, kind)


def score(plan: EstimatorPlan, truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the figure that models are compared by: accuracy, or r2."""
    measure = metrics.accuracy_score if plan.is_classification else metrics.r2_score
    return float(measure(truth, predicted))


def _measure(
    estimator: BaseEstimator, plan: EstimatorPlan, inputs: pd.DataFrame, truth: NDArray[Any], seed: int
) -> ModelMetrics:
    predicted = estimator.predict(inputs)
    if plan.is_classification:
        probabilities = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 ones do so only nearly
        low, high = accuracy_interval(int((predicted == truth).sum()), len(truth))
        return ModelMetrics(
            accuracy=metrics.accuracy_score(truth, predicted),
            accuracy_low=low,
            accuracy_high=high,
            f1_macro=metrics.f1_score(truth, predicted, average="macro"),
            log_loss=metrics.log_loss(truth, probabilities, labels=estimator.classes_),
        )
    predicted = np.asarray(predicted, dtype=np.float64).reshape(len(truth))
    low, high = r2_interval(truth, predicted, seed)
    return ModelMetrics(
        r2=metrics.r2_score(truth, predicted),
        r2_low=low,
        r2_high=high,
        mae=metrics.mean_absolute_error(truth, predicted),
        rmse=metrics.root_mean_squared_error(truth, predicted),
    )
