"""Rows whose chance of being right is a known function of their confidence."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit, logit

from drift.rows import Reference, Rows, Schema

DrawRows = Callable[..., Rows]


@pytest.fixture(scope="session")
def draw_rows() -> DrawRows:
    """A function that draws rows of two classes.

    `ease` moves the confidences, which are those of a logistic model; `claim` below 1 is a model that claims more than
    it keeps: the log odds of being right are `claim` times what it says.
    """

    def draw(random: np.random.Generator, count: int, *, ease: float = 3.0, claim: float = 1.0) -> Rows:
        confidences = expit(np.abs(random.normal(ease, 1.5, count)))
        right = random.random(count) < expit(claim * logit(confidences))
        predictions = np.full(count, "yes", dtype=object)
        return Rows(
            np.zeros((count, 1)), predictions, confidences, np.where(right, "yes", "no").astype(object)
        )

    return draw


@pytest.fixture(scope="session")
def as_reference() -> Callable[[Rows], Reference]:
    """A function that makes a reference of rows."""

    def make(rows: Rows) -> Reference:
        kind = "label" if rows.predictions.dtype == object else "number"
        return Reference(Schema(("feature_0",), kind), rows, len(rows))

    return make
