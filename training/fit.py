"""Split, fit, measure: a validated table becomes a model and the figures of its held-out rows."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from protos.inference.v1.manifest_pb2 import ModelMetrics
from training.config import SplitSection
from training.contract import ValidatedTable
from training.errors import ContractError, EstimatorError, Violation
from training.estimator import EstimatorPlan

__all__ = ["FittedModel", "fit_model"]

#: What scikit-learn and joblib raise for parameters and data alike: also threads and memory that do not exist.
_RAISED_BY_ESTIMATORS: Final = (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class FittedModel:
    """A fitted scikit-learn estimator with the table it comes from.

    It was fitted on float32 features in a DataFrame (so it knows their names) and on the original labels, so
    that anybody who loads it with stock MLflow gets labels back. The **class index** of a label is its place
    in `estimator.classes_`, which is the column of its probability.
    """

    estimator: BaseEstimator
    plan: EstimatorPlan
    table: ValidatedTable
    train_rows: NDArray[np.int64]
    metrics: ModelMetrics

    @property
    def classes(self) -> list[Any]:
        """Labels in class-index order; empty for regression."""
        return list(self.estimator.classes_) if self.plan.is_classification else []

    @property
    def targets(self) -> NDArray[Any]:
        """The label or number of each row of the table, as the estimator takes it."""
        return _target(self.table)

    def inputs(self, rows: pd.DataFrame | NDArray[np.float32] | None = None) -> pd.DataFrame:
        """Return `rows` (numbers, one column a feature; None: the whole table) as the estimator takes them.

        Values go through float32, the type in which every runtime computes, once and here.
        """
        values = self.table.frame[list(self.table.features)] if rows is None else rows
        return pd.DataFrame(np.asarray(values, dtype=np.float32), columns=list(self.table.features))

    def predict(self, inputs: pd.DataFrame) -> NDArray[Any]:
        """Return the class index (int64) of each row, or its value (float64)."""
        predicted = self.estimator.predict(inputs)
        if not self.plan.is_classification:
            return np.asarray(predicted, dtype=np.float64).reshape(len(inputs))
        indexes: NDArray[np.int64] = np.searchsorted(self.estimator.classes_, predicted)
        return indexes

    def probabilities(self, inputs: pd.DataFrame) -> NDArray[np.float64]:
        """Return rows x classes."""
        return np.asarray(self.estimator.predict_proba(inputs), dtype=np.float64)


def fit_model(table: ValidatedTable, plan: EstimatorPlan, split: SplitSection) -> FittedModel:
    """Hold rows out, fit on the rest, measure on those held out.

    Raises `ContractError` when the rows do not suffice for the split, `EstimatorError` when fitting fails.
    """
    target = _target(table)
    rows = np.arange(len(target))
    try:
        train, test = train_test_split(
            rows,
            test_size=split.test_ratio,
            random_state=split.seed,
            stratify=target if plan.is_classification else None,
        )
    except ValueError as error:
        reason = f"the rows do not suffice for [split] test_ratio = {split.test_ratio:g}: {error}"
        raise ContractError(table.source, [Violation(reason)], 1) from None
    inputs = table.frame[list(table.features)].astype(np.float32)
    try:
        estimator = plan.build().fit(inputs.iloc[train], target[train])
        figures = _measure(estimator, plan, inputs.iloc[test], target[test])
    except _RAISED_BY_ESTIMATORS as error:
        remedy = "correct [estimator] parameters, or choose another estimator"
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise EstimatorError(plan.class_path, reason, remedy) from error
    figures.train_rows, figures.test_rows = len(train), len(test)
    return FittedModel(estimator, plan, table, np.sort(train), figures)


def _target(table: ValidatedTable) -> NDArray[Any]:
    values = table.frame[table.target]
    if values.dtype.kind in "iuf":
        return values.to_numpy()
    return np.asarray([str(label) for label in values])  # a NumPy text array: skops stores it without objects


def _measure(
    estimator: BaseEstimator, plan: EstimatorPlan, inputs: pd.DataFrame, truth: NDArray[Any]
) -> ModelMetrics:
    predicted = estimator.predict(inputs)
    if plan.is_classification:
        probabilities = estimator.predict_proba(inputs)
        return ModelMetrics(
            accuracy=metrics.accuracy_score(truth, predicted),
            f1_macro=metrics.f1_score(truth, predicted, average="macro"),
            log_loss=metrics.log_loss(truth, probabilities, labels=estimator.classes_),
        )
    return ModelMetrics(
        r2=metrics.r2_score(truth, predicted),
        mae=metrics.mean_absolute_error(truth, predicted),
        rmse=metrics.root_mean_squared_error(truth, predicted),
    )
