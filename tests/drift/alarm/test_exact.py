"""The exact test: against every split, and under no change."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from drift.alarm.exact import exact_p_values
from drift.alarm.null import Null
from drift.alarm.sample import Sample
from drift.rows import Reference, Rows

AsReference = Callable[..., Reference]
NormalRows = Callable[..., Rows]


@pytest.mark.parametrize("reference_rows", [3, 6])
def test_it_equals_all_splits(
    as_reference: AsReference, normal_rows: NormalRows, reference_rows: int
) -> None:
    """With nine rows, p-values are those of all 84 splits, as exactly as 1,999 random ones can tell.

    Scores are only ranked here, so that the gauges, which differ a little, are not compared.
    """
    pool = normal_rows(np.random.default_rng(1), 9, columns=1)
    pool.features[reference_rows:] += 1.0
    both = as_reference(pool)
    known, current = pool.take(np.arange(reference_rows)), pool.take(np.arange(reference_rows, 9))
    found = exact_p_values(as_reference(known), current, np.random.default_rng(2))
    sample, size = Sample.of(both, np.random.default_rng(3)), min(reference_rows, 9 - reference_rows)
    splits = np.array(list(combinations(range(9), size)))
    counts, pairs = sample.measure(splits)
    distances = sample.distances(counts, sample.counts - counts, share=size / 9, size=size * (9 - size) / 9)
    observed = (splits == (np.arange(6, 9) if reference_rows == 6 else np.arange(3))).all(axis=1).argmax()
    expected = Null.of(distances, pairs, unseen=0).p_values(distances[observed], pairs[observed])
    assert found.features == pytest.approx(expected.features, abs=0.06)
    assert found.prediction == pytest.approx(expected.prediction, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("reference_rows", "rows"), [(20, 60), (60, 20)])
def test_it_holds_any_level(
    as_reference: AsReference, normal_rows: NormalRows, reference_rows: int, rows: int
) -> None:
    """Of 150 pairs of samples a fifth at most has a p-value of a fifth, which fails by chance once in a million."""
    random = np.random.default_rng(4)
    found = [
        exact_p_values(
            as_reference(normal_rows(random, reference_rows)), normal_rows(random, rows), random
        ).of_scopes()
        for _ in range(150)
    ]
    for scope in ("features", "prediction", "joint"):
        assert sum(one[scope] <= 0.2 for one in found) <= binom.isf(1e-6, 150, 0.2)


def test_large_windows_are_sampled(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """A window far larger than the reference costs no more than a large one."""
    random = np.random.default_rng(5)
    found = exact_p_values(as_reference(normal_rows(random, 50)), normal_rows(random, 50_000), random)
    assert 0 < found.prediction <= 1
