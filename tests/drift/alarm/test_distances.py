"""Distances of counts: SciPy's, where the cells are full, and bounded where they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from drift.alarm.bins import CODES, MISSING
from drift.alarm.distances import anderson_darling, category_distances, mood, ordered_distances

COUNTS = st.lists(st.integers(0, 30), min_size=CODES, max_size=CODES).map(np.array).filter(np.any)


def as_counts(*counts: int) -> np.ndarray:
    return np.bincount(np.arange(len(counts)), weights=counts, minlength=CODES).astype(int)


def sizes(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    first, second = one.sum(), other.sum()
    return {"share": first / (first + second), "size": first * second / (first + second)}


def test_categories_equal_chi_square_of_scipy() -> None:
    """It is the chi-square of the table of two rows, where Pearson's variance is the larger one."""
    one, other = as_counts(30, 20, 50), as_counts(25, 30, 45)
    expected = stats.chi2_contingency(np.stack([one, other])[:, :3], correction=False).statistic
    assert category_distances(one, other, **sizes(one, other)) == pytest.approx(expected, rel=1e-12)


def test_a_shared_cell_of_a_small_window_is_freeman_tukey() -> None:
    """Where the window has more than the reference has room for, it is the distance of square roots."""
    one, other = as_counts(0, 50), as_counts(0, 5000)
    one[5] = 3
    found = category_distances(one, other, share=0.0, size=53)
    p, q = one / one.sum(), other / other.sum()
    variance = np.maximum(((np.sqrt(p) + np.sqrt(q)) / 2) ** 2, q)
    expected = 53 * np.sum((p - q)[variance > 0] ** 2 / variance[variance > 0])
    assert found == pytest.approx(expected)
    assert found < 4 * 3 + 1  # 4 a row; Pearson's is beyond all bounds


def test_place_equals_anderson_darling_of_scipy() -> None:
    """With ties it is SciPy's k-sample statistic, averaged over up and down, but for two constants.

    SciPy standardises with what depends on the sizes alone, so two samples tell the constants and the others follow.
    """
    random = np.random.default_rng(3)
    ours, scipys = [], []
    for shift in (0, 1, 2, 3, 5):
        one, other = random.integers(0, 20, 60), random.integers(0, 20, 60) + shift
        ours.append(
            float(anderson_darling(*(np.bincount(side, minlength=32) / 60 for side in (one, other)), 0.5))
        )
        both = [
            stats.anderson_ksamp(pair, variant="right", method=_permutations()).statistic
            for pair in ([one, other], [-one, -other])
        ]
        scipys.append(np.mean(both))
    slope, start = np.polyfit(scipys[:2], ours[:2], 1)
    assert ours == pytest.approx(start + slope * np.array(scipys), rel=1e-9)
    assert slope > 0


def test_scale_equals_the_mood_test_of_scipy() -> None:
    """It is SciPy's z squared, with N - 1 for N."""
    places = np.random.default_rng(4).permutation(32)
    one, other = places[:16], places[16:]
    found = mood(*(np.bincount(side, minlength=32) / 16 for side in (one, other)), 0.5)
    assert 8 * float(found) == pytest.approx(stats.mood(one, other).statistic ** 2 * 32 / 31)


def _permutations() -> stats.PermutationMethod:
    return stats.PermutationMethod(n_resamples=1, rng=np.random.default_rng(0))


@given(one=COUNTS, other=COUNTS)
def test_distances_are_symmetric_and_zero_of_itself(one: np.ndarray, other: np.ndarray) -> None:
    """Which side is drawn does not matter, and equal shares have no distance."""
    both = sizes(one, other)
    turned = {"share": 1 - both["share"], "size": both["size"]}
    for distance in (category_distances, ordered_distances):
        assert distance(one, other, **both) == pytest.approx(distance(other, one, **turned), abs=1e-9)
        assert distance(one, one * 3, share=0.25, size=1.0) == pytest.approx(0, abs=1e-12)


@given(one=COUNTS, other=COUNTS)
def test_up_and_down_are_the_same(one: np.ndarray, other: np.ndarray) -> None:
    """Turned around, numbers are as far apart as before."""

    def turn(counts: np.ndarray) -> np.ndarray:
        return np.append(counts[:MISSING][::-1], counts[MISSING])

    both = sizes(one, other)
    expected = ordered_distances(one, other, **both)
    assert ordered_distances(turn(one), turn(other), **both) == pytest.approx(expected, abs=1e-9)


def test_missing_values_are_a_distance_of_their_own() -> None:
    """With equal values, half of them missing counts with half of its chi-square."""
    one, other = as_counts(10, 10), as_counts(20, 20)
    one[MISSING] = 20
    expected = stats.chi2_contingency([[20, 20], [40, 0]], correction=False).statistic / 2
    assert ordered_distances(one, other, **sizes(one, other)) == pytest.approx(expected)


def test_a_column_without_values_has_a_distance() -> None:
    """All missing on one side, or on both, or no row at all: a number, not a warning."""
    missing, present, empty = as_counts(), as_counts(5, 5), as_counts()
    missing[MISSING] = 10
    assert ordered_distances(missing, present, share=0.5, size=5) > 0
    assert ordered_distances(missing, missing, share=0.5, size=5) == 0
    assert ordered_distances(empty, present, share=0.5, size=5) >= 0
