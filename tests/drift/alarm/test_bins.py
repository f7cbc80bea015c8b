"""Bins: chosen on the reference, the same for everything that follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.alarm.bins import BINS, MISSING, NEW, Categories, Labels, Quantiles

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float)
COLUMNS = st.lists(NUMBERS, max_size=300).map(np.array)


def test_many_numbers_fill_the_bins_evenly() -> None:
    """Without ties every one of the 32 bins has its 1/32 of the reference."""
    column = np.random.default_rng(1).normal(size=3200)
    assert np.bincount(Quantiles.of(column).codes(column)).tolist() == [100] * BINS


@given(reference=COLUMNS, current=COLUMNS)
def test_codes_keep_the_order(reference: np.ndarray, current: np.ndarray) -> None:
    """A higher number never has a lower code, the codes fit, and missing is missing, whatever the reference was."""
    codes = Quantiles.of(reference.astype(float)).codes(current.astype(float))
    missing = np.isnan(current.astype(float))
    assert (codes[missing] == MISSING).all()
    present = codes[~missing][np.argsort(current[~missing], kind="stable")]
    assert (np.diff(present.astype(int)) >= 0).all()
    assert (present < BINS).all()


def test_few_values_have_a_bin_each() -> None:
    """Of a feature of 0 and 1, what lies between, below and beyond is told from both."""
    bins = Quantiles.of(np.array([0.0, 1.0] * 50))
    assert len(set(bins.codes(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist())) == 5


def test_constants_have_neighbours() -> None:
    """A constant feature that moves is seen, up and down, and an empty one has one bin for all values."""
    assert Quantiles.of(np.full(30, 7.0)).codes(np.array([6.9, 7.0, 7.1])).tolist() == [0, 1, 2]
    assert Quantiles.of(np.full(30, np.nan)).codes(np.array([1.0, np.nan])).tolist() == [0, MISSING]


@pytest.mark.parametrize(("rows", "bins"), [(20, 4), (100, 20), (160, 32)])
def test_small_references_have_few_bins(rows: int, bins: int) -> None:
    """Each bin has five rows of the reference at least, and there are four bins."""
    assert len(Quantiles.of(np.arange(float(rows))).edges) == bins - 1


def test_new_texts_share_a_bin() -> None:
    """Known texts keep theirs, and all that follow the last are new."""
    bins = Categories.of(np.array([0.0, 0, 1, 1, np.nan]), 2)
    assert bins.codes(np.array([0.0, 1, 2, np.nan])).tolist() == [0, 1, NEW, MISSING]


def test_what_the_reference_has_once_stands_for_new_texts() -> None:
    """In the reference alone: a current row with that text has the bin of the text."""
    bins = Categories.of(np.array([0.0, 0, 1]), 2)
    assert bins.reference_codes(np.array([0.0, 0, 1])).tolist() == [0, 0, NEW]
    assert bins.codes(np.array([1.0])).tolist() == [1]


def test_new_texts_are_as_many_as_expected() -> None:
    """Of 400 equally frequent texts, the share of new ones in other rows is on average that of single ones.

    400 references of 400 rows; the mean difference has a standard deviation of about 0.0013.
    """
    random = np.random.default_rng(2)
    differences = []
    for _ in range(400):
        reference, current = random.integers(0, 400, (2, 400))
        known = np.unique(reference)
        bins = Categories.of(np.searchsorted(known, reference).astype(float), len(known))
        places = np.where(np.isin(current, known), np.searchsorted(known, current), len(known))
        expected = (bins.reference_codes(np.searchsorted(known, reference).astype(float)) == NEW).mean()
        differences.append((bins.codes(places.astype(float)) == NEW).mean() - expected)
    assert abs(np.mean(differences)) < 0.008


def test_labels_are_told_apart_and_new_ones_are_new() -> None:
    """Labels have bins like texts."""
    bins = Labels.of(np.array(["b", "a", "b", "a"], dtype=object))
    assert bins.codes(np.array(["a", "b", "c"], dtype=object)).tolist() == [0, 1, NEW]
