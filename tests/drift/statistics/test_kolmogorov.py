"""The exact p-value of the largest gap: SciPy's, for all gaps that two sizes can have."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from drift.statistics.kolmogorov import Gap, find_gap, p_values_of
from drift.statistics.sample import Numbers


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (7, 7), (12, 18), (37, 41), (100, 1)])
def test_all_gaps_of_two_sizes_at_once(n: int, m: int) -> None:
    """From no gap, p = 1, to the widest, where one path in each direction touches."""
    widest = math.lcm(n, m)
    found = p_values_of([Gap(n, m, height) for height in range(widest + 1)])
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(2 / math.comb(n + m, n), rel=1e-12)


def test_gaps_of_many_columns_with_sizes_of_their_own() -> None:
    """Columns with missing values have other sizes; each gets its own p-value, in their order."""
    random = np.random.default_rng(0)
    sides = [
        (random.normal(size=n).round(1), random.normal(0.1 * n / m, size=m).round(1))
        for n, m in [(90, 40), (60, 60), (90, 40), (13, 200), (500, 900), (90, 39)]
    ]
    found = p_values_of([find_gap(*map(Numbers.of, side)) for side in sides])
    assert found == pytest.approx([ks_2samp(*side).pvalue for side in sides], rel=1e-9)


def test_far_apart_samples_do_not_overflow() -> None:
    """A p-value far below the smallest that matters is still a number, and SciPy's."""
    reference, current = np.arange(800.0), np.arange(600.0) + 500.5
    gap = find_gap(Numbers.of(reference), Numbers.of(current))
    expected = ks_2samp(reference, current)
    assert gap.distance == pytest.approx(expected.statistic)
    assert p_values_of([gap, Gap(800, 600, 2400)])[0] == pytest.approx(expected.pvalue, rel=1e-9)
