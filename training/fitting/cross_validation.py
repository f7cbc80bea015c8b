"""Cross-validation: how much the score moves with the rows that a model was fitted on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.configuration.sections import PreprocessingSection, SplitSection
from training.fitting.estimator import EstimatorPlan
from training.fitting.failures import estimator_errors
from training.fitting.fit import FittedModel, score
from training.fitting.preprocessing import assemble
from training.fitting.split import fold_rows

__all__ = ["CrossValidation", "cross_validate"]


@dataclass(frozen=True)
class CrossValidation:
    """The score (accuracy or r2) of each fold."""

    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Standard deviation over the folds (of a sample: divided by one less than their number)."""
        return float(np.std(self.scores, ddof=1))


def cross_validate(
    model: FittedModel,
    split: SplitSection,
    preprocessing: tuple[PreprocessingSection, ...] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> CrossValidation:
    """Fit and score `[split] folds` models on the rows that `model` was fitted on.

    The held-out rows stay unseen. The mean and the deviation go into `model.metrics`. `advance` is called
    after each fold. Raises `ContractError` when the rows do not suffice, `EstimatorError`.
    """
    plan: EstimatorPlan = model.plan
    inputs, targets = model.inputs(), model.targets
    scores = []
    for train, test in fold_rows(model.table, split, plan.is_classification, model.train_rows):
        with estimator_errors(plan), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the estimator warns of, its own fit has shown
            estimator = assemble(plan.build(), model.columns, preprocessing, split.seed)
            estimator.fit(inputs.iloc[train], targets[train])
            scores.append(score(plan, targets[test], estimator.predict(inputs.iloc[test])))
        advance()
    found = CrossValidation(tuple(scores))
    model.metrics.cross_validation_mean, model.metrics.cross_validation_std = found.mean, found.std
    return found
