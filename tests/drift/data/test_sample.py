"""The sample: bounded, without bias, and the same however the rows come."""

import numpy as np
import pytest

from drift.data.sample import Sample
from drift.rows import Rows

TOTAL, CAPACITY = 20_000, 500


def sampled(part: int, seed: int) -> Rows:
    sample = Sample(CAPACITY, seed)
    for start in range(0, TOTAL, part):
        places = start + sample.draw(min(part, TOTAL - start))
        features = places[:, None].astype(float)
        sample.add(Rows(features, np.full(len(places), "a", dtype=object)))
    rows = sample.rows()
    assert rows is not None
    assert sample.total_rows == TOTAL
    return rows


@pytest.mark.parametrize("part", [1, 499, 7_000, TOTAL])
def test_the_sample_does_not_depend_on_the_parts(part: int) -> None:
    """CSV and Parquet come in parts of their own; the rows stay in the order of the dataset."""
    rows = sampled(part, 1)
    assert len(rows) == CAPACITY
    assert (np.diff(rows.features[:, 0]) > 0).all()
    np.testing.assert_array_equal(rows.features, sampled(1_000, 1).features)


def test_every_row_has_the_same_chance() -> None:
    """Over 200 samples each tenth of the dataset is there equally often (chi-square of 9, p = 0.001: 27.9)."""
    counts = sum(np.histogram(sampled(5_000, seed).features, 10, (0, TOTAL))[0] for seed in range(200))
    expected = 200 * CAPACITY / 10
    assert float(np.sum((counts - expected) ** 2 / expected)) < 27.9


def test_no_rows_are_no_sample() -> None:
    """None stands for nothing."""
    assert Sample(3, 0).rows() is None
