"""Paired tests of two models on the same rows: is the difference more than chance?"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

__all__ = ["mcnemar_mid_p", "sign_flip_p"]

#: Sign flips beside the observed one: the least p is 1 in 10,000.
_FLIPS: Final = 9_999
#: Signs drawn at once: 32 MB.
_DRAWN_AT_ONCE: Final = 4_000_000


def mcnemar_mid_p(first_only: int, second_only: int) -> float:
    """Return the two-sided mid-p value of McNemar's exact test.

    The arguments are the rows that only the first model got right, and those that only the second did; rows on
    which both do the same say nothing. Source: Fagerland, Lydersen and Laake, "The McNemar test for binary
    matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical Research
    Methodology 13:91 (2013), who recommend the mid-p for its power at a level that is nearly always kept.
    """
    rows, fewer = first_only + second_only, min(first_only, second_only)
    if first_only == second_only:
        return 1.0 - 0.5 * float(binom.pmf(first_only, rows, 0.5)) if rows else 1.0
    return float(2 * binom.cdf(fewer, rows, 0.5) - binom.pmf(fewer, rows, 0.5))


def sign_flip_p(differences: NDArray[np.float64], seed: int) -> float:
    """Return the two-sided p value of a paired permutation test of mean 0; the same for the same seed.

    When two models are alike, each difference is as likely with the other sign. The observed signs count as
    one of the draws, so that p is never 0 (Phipson and Smyth, "Permutation p-values should never be zero",
    Statistical Applications in Genetics and Molecular Biology 9, 2010).
    """
    some = differences[differences != 0]
    if not len(some):
        return 1.0
    scaled = some / np.abs(some).max()  # squares of large numbers keep their precision
    observed = abs(float(scaled.sum())) * (1 - 1e-12)  # the same sum in another order counts as the same
    random, extreme = np.random.default_rng(seed), 0
    at_once = max(1, min(_FLIPS, _DRAWN_AT_ONCE // len(scaled)))
    for start in range(0, _FLIPS, at_once):
        drawn = random.integers(2, size=(min(at_once, _FLIPS - start), len(scaled)), dtype=np.int8)
        sums = (2.0 * drawn - 1.0) @ scaled
        extreme += int((np.abs(sums) >= observed).sum())
    return (extreme + 1) / (_FLIPS + 1)
