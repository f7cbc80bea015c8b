"""Nulls: what drawn windows say of one that was seen."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from drift.alarm.null import DRAWS, Gauge, Null, batches, draw_null
from drift.alarm.sample import Sample
from drift.rows import Reference, Rows

AsReference = Callable[..., Reference]
NormalRows = Callable[..., Rows]


def test_gauges_make_chi_squares_normal() -> None:
    """Chi-squares of other scales and degrees of freedom have nearly the same upper tails afterwards."""
    random = np.random.default_rng(1)
    drawn = np.stack([random.chisquare(3, 100_000) * 2, random.chisquare(30, 100_000) / 5], axis=1)
    scores = Gauge.of(drawn).standardise(drawn)
    for level in (0.9, 0.99, 0.999):
        assert np.quantile(scores, level, axis=0) == pytest.approx([stats.norm.ppf(level)] * 2, abs=0.15)


def test_p_values_count_the_draws_and_the_window_itself() -> None:
    """(1 + draws at least as extreme) / (1 + draws), and no 1 when the window is one of the draws."""
    distances = np.arange(1.0, 10.0)[:, None].repeat(2, axis=1)
    pairs = np.arange(1.0, 10.0)[:, None].repeat(2, axis=1)
    seen = np.array([8.0, 10.0]), np.array([0.0, 0.0])
    found = Null.of(distances, pairs).p_values(*seen)
    assert (found.features, found.prediction, found.joint) == ([0.3], 0.1, 1.0)
    assert Null.of(distances, pairs, unseen=0).p_values(distances[8], pairs[8]).prediction == 1 / 9


@pytest.mark.parametrize("codes", [1, 1000, 10**9])
def test_batches_are_all_draws(codes: int) -> None:
    """Whatever fits at once, their number is the same."""
    assert sum(batches(codes)) == DRAWS


def test_drawn_windows_hold_the_level(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """Of 400 windows of 40 rows against 20,000 about a tenth has a p-value of a tenth, in each scope.

    The bounds are crossed once in a million runs if it is exactly a tenth.
    """
    random = np.random.default_rng(2)
    sample = Sample.of(as_reference(normal_rows(random, 20_000)), random)
    null = draw_null(sample, 40, 40 / 20_000, random)
    found = []
    for _ in range(400):
        window = normal_rows(random, 40)
        columns = [*window.features.T, window.predictions]
        codes = np.stack(
            [each.codes(column) for each, column in zip(sample.bins, columns, strict=True)], axis=1
        )
        counts = np.stack([np.bincount(column, minlength=33) for column in codes.T])
        distances = sample.distances(counts, sample.counts, share=40 / 20_000, size=40)
        found.append(null.p_values(distances, sample.pair_statistics(codes[None, :, :-1])[0]).of_scopes())
    low, high = stats.binom.ppf(5e-7, 400, 0.1), stats.binom.isf(5e-7, 400, 0.1)
    for scope in ("features", "joint"):
        assert low <= sum(one[scope] <= 0.1 for one in found) <= high
    assert (
        sum(one["prediction"] <= 0.1 for one in found) <= high
    )  # of 40 labels of two kinds many p-values are equal
