"""Tests of how often each value is there, in Evidently's definitions: p-values, small when the shares changed.

Evidently 0.7.23 gives no number where a test has nothing to say, or raises; here

* the G-test scales what it expects to the number of current rows, as Evidently's chi-square test does, where
  Evidently's raises unless both sides have equally many;
* Fisher's test, too, takes sides of different sizes;
* the total variation distances of permutations are compared as whole numbers, so that equal ones are equal:
  Evidently's differ in their last digit, by the order in which a set of texts happens to be.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.statistics.sample import Sample, Values, codes_of, count_pairs
from drift.statistics.tail import chi_square_tail, normal_tails

__all__ = ["chi_square", "fisher_exact", "g_test", "proportion_z", "total_variation"]

#: Permutations, and the seed of them (Evidently's).
PERMUTATIONS: Final = 1000
PERMUTATION_SEED: Final = 0


def chi_square(reference: Sample, current: Sample) -> float | None:
    """Return the p-value of Pearson's test that the current counts follow the reference's shares."""
    expected, found = _scaled(reference, current)
    with np.errstate(divide="ignore"):  # a value that the reference does not have: p = 0
        statistic = np.sum((found - expected) ** 2 / expected)
    return chi_square_tail(float(statistic), len(found) - 1) if len(found) > 1 else None


def g_test(reference: Sample, current: Sample) -> float | None:
    """Return the p-value of the likelihood-ratio test that the current counts follow the reference's shares."""
    expected, found = _scaled(reference, current)
    some = found > 0  # the others add nothing
    with np.errstate(divide="ignore"):  # as above
        statistic = 2.0 * np.sum(found[some] * np.log(found[some] / expected[some]))
    return chi_square_tail(float(statistic), len(found) - 1) if len(found) > 1 else None


def proportion_z(reference: Sample, current: Sample) -> float | None:
    """Return the p-value of the test that the first of the values, in their order, has the same share."""
    first, second = count_pairs(reference, current)
    n, m = len(reference), len(current)
    p, q = 1 - first[0] / n, 1 - second[0] / m
    together = (p * n + q * m) / (n + m)
    spread = np.sqrt(together * (1 - together) * (1 / n + 1 / m))
    return normal_tails((p - q) / spread) if spread else None


def fisher_exact(reference: Sample, current: Sample) -> float | None:
    """Return the p-value of Fisher's exact test; None with more than two values."""
    from scipy.stats import fisher_exact as test  # noqa: PLC0415 - 74 MiB that few need

    first, second = count_pairs(reference, current)
    if len(first) != 2:
        return None
    return float(test(np.array([second, first], dtype=np.int64)).pvalue)


def total_variation(reference: Sample, current: Sample) -> float:
    """Return the share of permutations whose total variation distance is at least that of the two sides."""
    first, second = codes_of(reference, current)
    n, m, values = len(first), len(second), int(max(first.max(), second.max())) + 1
    pool = np.concatenate([first, second])
    total = np.bincount(pool, minlength=values)

    def distance(of_reference: NDArray[np.int_]) -> int:
        return int(np.sum(np.abs(of_reference * m - (total - of_reference) * n)))

    observed = distance(np.bincount(first, minlength=values))
    random = np.random.RandomState(PERMUTATION_SEED)  # the legacy generator is Evidently's
    draws = (random.permutation(n + m)[:n] for _ in range(PERMUTATIONS))
    extreme = sum(distance(np.bincount(pool[draw], minlength=values)) >= observed for draw in draws)
    return extreme / PERMUTATIONS


def _scaled(reference: Sample, current: Sample) -> tuple[Values, Values]:
    """Return the counts that the reference lets expect, and the current ones."""
    first, second = count_pairs(reference, current)
    return first * (len(current) / len(reference)), second
