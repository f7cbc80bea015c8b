"""Dependence: correlations of normal scores, pair by pair."""

import numpy as np
import pytest

from drift.alarm.bins import MISSING, Bins, Categories, Quantiles
from drift.alarm.dependence import MOST_COLUMNS, Dependence


def learn(features: np.ndarray, texts: int = 0) -> tuple[Dependence, np.ndarray]:
    """Return what is learnt of features, of which the last `texts` are texts, and their codes."""
    width = features.shape[1]
    bins: list[Bins] = [Quantiles.of(column) for column in features.T[: width - texts]]
    bins += [Categories.of(column, 4) for column in features.T[width - texts :]]
    codes = np.stack(
        [each.reference_codes(column) for each, column in zip(bins, features.T, strict=True)], axis=1
    )
    return Dependence.of(codes, bins, np.random.default_rng(0)), codes


def test_correlations_are_those_of_the_scores() -> None:
    """They equal numpy's, whatever the tiles they are summed in, and normal scores of normals keep them."""
    random = np.random.default_rng(1)
    features = random.multivariate_normal([0, 0, 5], [[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]], size=10_000)
    dependence, codes = learn(features)
    scores = dependence.scores[np.arange(3), codes]
    assert dependence.correlations == pytest.approx(np.corrcoef(scores.T), abs=1e-4)
    assert dependence.correlations[0, 1] == pytest.approx(0.6, abs=0.03)


def test_spread_is_that_of_the_correlation() -> None:
    """Of normals the root of the rows times the deviation of r is 1 - r^2."""
    features = np.random.default_rng(2).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=50_000)
    assert learn(features)[0].spreads[0, 1] == pytest.approx(1 - 0.6**2, abs=0.05)


def test_statistics_by_hand() -> None:
    """Mean and largest of the squared differences of correlations, in units of their spread."""
    random = np.random.default_rng(3)
    dependence, _ = learn(random.normal(size=(2000, 3)))
    window = random.integers(0, 32, (1, 50, 3)).astype(np.uint8)
    correlations = np.corrcoef(dependence.scores[np.arange(3), window[0]].T)
    differences = ((correlations - dependence.correlations) / dependence.spreads)[np.triu_indices(3, 1)]
    squares = 40 * np.square(differences)
    assert dependence.statistics(window, 40)[0] == pytest.approx([squares.mean(), squares.max()], rel=1e-3)


def test_constants_and_single_features_have_no_pairs() -> None:
    """There is nothing to look at with one feature, or with none that varies beside it."""
    varied = np.random.default_rng(4).normal(size=100)
    assert not learn(varied[:, None])[0]
    assert not learn(np.stack([varied, np.ones(100), np.full(100, np.nan)], axis=1))[0]


def test_texts_pair_with_other_features_only() -> None:
    """A text is seen through a column for each full bin, and these are not compared with each other."""
    random = np.random.default_rng(5)
    dependence, _ = learn(np.stack([random.normal(size=300), random.integers(0, 3, 300)], axis=1), texts=1)
    assert dependence.places.tolist() == [0, 1, 1]
    assert dependence.pairs.sum() == 2


def test_windows_that_do_not_vary_have_no_correlation() -> None:
    """One row, equal rows and missing ones give numbers, not warnings."""
    dependence, codes = learn(np.random.default_rng(6).normal(size=(100, 3)))
    for window in (codes[:1], np.repeat(codes[:1], 5, axis=0), np.full((4, 3), MISSING, np.uint8)):
        assert np.isfinite(dependence.statistics(window[None], 3)).all()


def test_many_features_are_sampled() -> None:
    """Beyond so many columns the seed chooses some, in their order."""
    dependence, _ = learn(np.random.default_rng(7).normal(size=(50, MOST_COLUMNS + 60)))
    assert len(dependence.places) == MOST_COLUMNS
    assert (np.diff(dependence.places) > 0).all()
