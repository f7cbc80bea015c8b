"""Realised accuracy: the share of right predictions, with Wilson's interval."""

import numpy as np
import pytest
from scipy.stats import binomtest

from drift.accuracy.realised import realised, wilson_interval
from drift.rows import Rows


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 30), (30, 30), (45, 50), (9, 10_000)])
def test_the_interval_is_that_of_scipy(right: int, rows: int) -> None:
    """Wilson's formula, to 1e-12, also where all rows are right or wrong."""
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    assert wilson_interval(right, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_only_rows_with_a_label_count() -> None:
    """A label that has not arrived is neither right nor wrong."""
    predictions = np.array(["a", "a", "b", "b"], dtype=object)
    rows = Rows(np.zeros((4, 1)), predictions, targets=np.array(["a", None, "a", None], dtype=object))
    accuracy = realised(rows)
    assert accuracy is not None
    assert (accuracy.value, accuracy.rows) == (0.5, 2)
    assert accuracy.low < 0.5 < accuracy.high


def test_there_is_no_accuracy_without_labels_or_of_numbers() -> None:
    """No target, none known yet, and a regression: all three have none."""
    labels = np.array(["a"], dtype=object)
    assert realised(Rows(np.zeros((1, 1)), labels)) is None
    assert realised(Rows(np.zeros((1, 1)), labels, targets=np.array([None], dtype=object))) is None
    assert realised(Rows(np.zeros((1, 1)), np.ones(1), targets=np.ones(1))) is None
