"""The tails of the chi-square and the normal law: SciPy's, from certainty to the smallest numbers there are."""

import math

import pytest
from scipy.special import chdtrc, ndtr

from drift.statistics.tail import chi_square_tail, normal_tails


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 50, 333, 10_000])
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.7, 1.0, 1.1, 2.0, 5.0])
def test_the_chi_square_tail(degrees: int, share: float) -> None:
    """Around, below and far above its mean, which is the number of degrees."""
    expected = chdtrc(degrees, share * degrees)
    assert chi_square_tail(share * degrees, degrees) == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_the_ends_of_the_chi_square_tail() -> None:
    """Nothing exceeds infinity, everything exceeds 0."""
    assert (chi_square_tail(math.inf, 3), chi_square_tail(0.0, 3), chi_square_tail(1e9, 3)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("deviations", [0.0, 0.3, -1.96, 3.0, 7.5, 40.0])
def test_the_normal_tails(deviations: float) -> None:
    """Both of them, as Evidently computes them."""
    assert normal_tails(deviations) == pytest.approx(2 * (1 - ndtr(abs(deviations))), rel=1e-9, abs=1e-15)
