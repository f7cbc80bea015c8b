"""Calibration: the rising function, its doubt, and what it says of a window."""

import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression

from drift.accuracy.calibration import Calibration, isotonic


@pytest.mark.parametrize("count", [1, 2, 5, 74])
def test_isotonic_is_that_of_scikit_learn(count: int) -> None:
    """The min-max formula gives what pooling of adjacent violators gives, to 1e-12."""
    random = np.random.default_rng(count)
    values, weights = random.random(count), random.random(count) + 0.1
    expected = isotonic_regression(values, sample_weight=weights)
    np.testing.assert_allclose(isotonic(values, weights), expected, rtol=0, atol=1e-12)


def test_isotonic_takes_many_rows_of_values_at_once() -> None:
    """Each row is for itself."""
    random = np.random.default_rng(6)
    values, weights = random.random((9, 11)), random.random(11) + 0.1
    np.testing.assert_array_equal(isotonic(values, weights)[4], isotonic(values[4], weights))


def test_rising_values_stay_what_they_are() -> None:
    """What rises already is its own isotonic regression."""
    values = np.array([0.1, 0.1, 0.4, 0.9])
    np.testing.assert_allclose(isotonic(values, np.array([1.0, 5.0, 2.0, 1.0])), values, rtol=1e-15)


def test_the_chance_at_a_knot_is_the_share_that_was_right() -> None:
    """Models with few distinct confidences (trees) have a knot at each, with the share of right rows there."""
    confidences = np.repeat([0.6, 0.8, 1.0], [4000, 3000, 3000])
    right = np.concatenate([np.arange(4000) % 2 == 0, np.arange(3000) % 10 < 7, np.arange(3000) % 50 > 0])
    calibration = Calibration.fit(confidences, right)
    np.testing.assert_allclose(calibration.knots, [0.6, 0.8, 1.0])
    np.testing.assert_allclose(calibration.chances, [0.5, 0.7, 0.98], atol=5e-4)
    assert (np.diff(calibration.draws, axis=1) >= 0).all()


def test_weights_give_the_mean_of_the_interpolated_function() -> None:
    """Knots count for the rows around them, the outermost for all beyond; the weights add up to 1."""
    random = np.random.default_rng(7)
    calibration = Calibration.fit(random.random(500), random.random(500) < 0.5)
    confidences = np.concatenate([random.random(1000), [0.0, 1.0]])
    weights = calibration.weights(confidences)
    expected = np.interp(confidences, calibration.knots, calibration.chances).mean()
    assert weights.sum() == pytest.approx(1.0)
    assert calibration.chances @ weights == pytest.approx(expected)


def test_a_reference_without_errors_leaves_doubt() -> None:
    """150 of 150 right rows do not prove that all rows will be: the rule of three allows 2 % of errors."""
    calibration = Calibration.fit(np.random.default_rng(8).uniform(0.8, 1.0, 150), np.ones(150, bool))
    means = calibration.draws @ calibration.weights(np.linspace(0.8, 1.0, 150))
    assert 0.96 < np.quantile(means, 0.025) < 0.995


def test_an_overconfident_model_does_not_pull_a_small_reference_up() -> None:
    """The model's claim is a prior for the shape alone; its level is that of the errors that were made."""
    random = np.random.default_rng(9)
    shares = []
    for _ in range(20):
        confidences, right = random.uniform(0.95, 1.0, 100), random.random(100) < 0.7
        calibration = Calibration.fit(confidences, right)
        shares.append(calibration.chances @ calibration.weights(confidences) - right.mean())
    assert abs(np.mean(shares)) < 0.01


def test_the_same_reference_gives_the_same_calibration() -> None:
    """The draws have a seed of their own."""
    random = np.random.default_rng(10)
    confidences, right = random.random(200), random.random(200) < 0.8
    np.testing.assert_array_equal(
        Calibration.fit(confidences, right).draws, Calibration.fit(confidences, right).draws
    )
