"""The law of one sample's largest gap: SciPy's, through all of its formulas."""

import numpy as np
import pytest
from scipy.stats import kstwo

from drift.statistics.one_sample import gap_exceeded


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 50, 139, 140, 141, 300, 999, 5000, 20_000])
def test_the_probability_of_a_gap(rows: int) -> None:
    """From gaps that no sample can avoid to those that none has."""
    scaled = np.sqrt(np.linspace(0.01, 6, 60) / rows)
    gaps = [*np.linspace(0.001, 1, 60), *scaled, *(np.array([0.5, 1, 1.5, 2.5]) / rows)]
    found = [gap_exceeded(rows, float(gap)) for gap in gaps]
    assert found == pytest.approx(kstwo.sf(gaps, rows).tolist(), rel=1e-9, abs=1e-280)


def test_the_ends() -> None:
    """A gap of 1 is never exceeded, and half a row's is always there."""
    assert (gap_exceeded(100, 1.0), gap_exceeded(100, 0.005), gap_exceeded(100, 0.0)) == (0.0, 1.0, 1.0)
