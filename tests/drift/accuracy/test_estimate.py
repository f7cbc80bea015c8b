"""Accuracy without labels: what is estimated, how sure, and when not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from drift.accuracy.estimate import MIN_CALIBRATION_ROWS, AccuracyEstimator
from drift.rows import Reference, Rows

DrawRows = Callable[..., Rows]
AsReference = Callable[[Rows], Reference]


@pytest.fixture
def estimator(draw_rows: DrawRows, as_reference: AsReference) -> AccuracyEstimator:
    found = AccuracyEstimator.fit(as_reference(draw_rows(np.random.default_rng(1), 5000, claim=0.5)))
    assert found is not None
    return found


def test_the_estimate_follows_the_difficulty(estimator: AccuracyEstimator, draw_rows: DrawRows) -> None:
    """Rows that the model is less sure of are estimated lower, where a model that claims too much says higher."""
    random = np.random.default_rng(2)
    for ease in (3.0, 1.5):
        rows = draw_rows(random, 50_000, ease=ease, claim=0.5)
        assert rows.confidences is not None
        truth = np.mean(rows.predictions == rows.targets)
        estimate = estimator.estimate(rows)
        assert estimate is not None
        assert estimate.value == pytest.approx(truth, abs=0.02)
        assert estimate.low <= truth <= estimate.high
        assert rows.confidences.mean() > truth + 0.08


@pytest.mark.parametrize(
    ("ease", "reference_rows", "window_rows", "claim"),
    [
        (3.0, 150, 2000, 0.5),
        (1.5, 150, 50, 1.0),
        (1.5, 2000, 2000, 0.5),
        (3.0, 2000, 50, 1.0),
        (4.0, 150, 1000, 1.5),
    ],
)
def test_the_interval_covers_as_often_as_it_says(
    draw_rows: DrawRows,
    as_reference: AsReference,
    ease: float,
    reference_rows: int,
    window_rows: int,
    claim: float,
) -> None:
    """95 of 100 realised accuracies lie within, also where rows became harder, the model claims too much, or
    hardly any row is wrong.

    The bound fails an interval that covers 95 % with a chance of 1e-6.
    """
    random, trials, covered = np.random.default_rng(3), 200, 0
    draw = partial(draw_rows, random, claim=claim)
    for _ in range(trials):
        estimator = AccuracyEstimator.fit(as_reference(draw(reference_rows)))
        rows = draw(window_rows, ease=ease)
        assert estimator is not None
        estimate = estimator.estimate(rows)
        assert estimate is not None
        covered += estimate.low <= np.mean(rows.predictions == rows.targets) <= estimate.high
    assert covered >= binom.ppf(1e-6, trials, 0.95)


def test_the_interval_is_no_wider_than_it_must_be(draw_rows: DrawRows, as_reference: AsReference) -> None:
    """With a large reference it is that of a share of so many rows, give or take half a row."""
    random = np.random.default_rng(4)
    estimator = AccuracyEstimator.fit(as_reference(draw_rows(random, 50_000, claim=0.5)))
    assert estimator is not None
    for count in (50, 1000):
        estimate = estimator.estimate(draw_rows(random, count, claim=0.5))
        assert estimate is not None
        needed = 2 * 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / count)
        assert 0.8 * needed < estimate.high - estimate.low < 1.15 * needed + 1 / count


def test_rows_without_a_confidence_are_left_out(estimator: AccuracyEstimator, draw_rows: DrawRows) -> None:
    """An event without probabilities says nothing of its rows, and a window of such events nothing at all."""
    rows = draw_rows(np.random.default_rng(5), 300)
    assert rows.confidences is not None
    some = replace(rows, confidences=np.where(np.arange(300) < 100, np.nan, rows.confidences))
    assert estimator.estimate(some) == estimator.estimate(rows.take(np.arange(100, 300)))
    assert estimator.estimate(replace(rows, confidences=np.full(300, np.nan))) is None
    assert estimator.estimate(replace(rows, confidences=None)) is None


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_one_row_has_an_estimate(estimator: AccuracyEstimator, confidence: float) -> None:
    """Whatever the confidence, the value lies within the interval and both within 0 and 1."""
    rows = Rows(np.zeros((1, 1)), np.array(["yes"], dtype=object), np.array([confidence]))
    estimate = estimator.estimate(rows)
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.rows == 1


def test_a_reference_that_cannot_be_calibrated_on_says_why(
    draw_rows: DrawRows, as_reference: AsReference
) -> None:
    """No estimate is better than a guess; the reason is for the log."""
    rows = draw_rows(np.random.default_rng(6), MIN_CALIBRATION_ROWS)
    numbers = replace(rows, predictions=np.ones(len(rows)), targets=np.ones(len(rows)))
    unknown = np.where(np.arange(len(rows)) == 0, None, rows.targets)
    for unfit, reason in (
        (replace(rows, confidences=None), "no column confidence;"),
        (replace(rows, targets=None), "no column target;"),
        (replace(rows, confidences=None, targets=None), "no column confidence and no column target;"),
        (numbers, "numbers, which have no accuracy"),
        (replace(rows, targets=unknown), "99 rows of the reference have both confidence and target and 100"),
    ):
        reference = as_reference(unfit)
        assert AccuracyEstimator.fit(reference) is None
        assert reason in AccuracyEstimator.obstacle(reference)
    assert AccuracyEstimator.obstacle(as_reference(rows)) == ""
    assert AccuracyEstimator.fit(as_reference(rows)) is not None
