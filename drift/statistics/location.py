"""Tests of numbers beyond the default ones, in Evidently's definitions: p-values, small when the column changed.

They are chosen column by column (`DRIFT_METHODS`). Those that SciPy computes import `scipy.stats` when first used,
which adds 74 MiB to the process. Each answers None where its test is not defined: with too few rows, or without
spread, where Evidently raises.
"""

import warnings
from typing import Final

import numpy as np

from drift.statistics.sample import Numbers, Values

__all__ = [
    "anderson_darling",
    "cramer_von_mises",
    "epps_singleton",
    "mann_whitney",
    "mean_discrepancy",
    "t_test",
]

#: What SciPy's tests need at least: `scipy.stats.epps_singleton_2samp` on each side, `anderson_ksamp` together.
EPPS_SINGLETON_ROWS: Final = 5
ANDERSON_DARLING_ROWS: Final = 4
#: Rows of each side that the mean discrepancy takes: its matrix has the square of both together, 32 MB then. With
#: more, a sample of so many; Evidently would need 88 GB for 100,000 reference rows and 5,000 current ones.
MEAN_DISCREPANCY_ROWS: Final = 1000
#: Permutations (Evidently's), and the seed of them, which Evidently leaves to the process.
PERMUTATIONS: Final = 100
PERMUTATION_SEED: Final = 0
#: Discrepancies closer than this are equal: those of columns with few values often are, up to their last digits.
_ROUNDING: Final = 1e-12


def t_test(reference: Numbers, current: Numbers) -> float | None:
    """Return the p-value of Student's test that the means are equal, with one variance for both sides."""
    from scipy.special import stdtr  # noqa: PLC0415 - 28 MiB

    n, m = len(reference), len(current)
    freedom = n + m - 2
    if freedom < 1:
        return None
    squares = n * reference.deviation**2 + m * current.deviation**2
    error = np.sqrt(squares / freedom * (1 / n + 1 / m))
    difference = abs(reference.mean - current.mean)
    if not error:
        return 0.0 if difference else None
    return float(2 * stdtr(freedom, -difference / error))


def mann_whitney(reference: Numbers, current: Numbers) -> float:
    """Return the one-sided p-value: small when reference values tend to be below current ones (Evidently's)."""
    from scipy.stats import mannwhitneyu  # noqa: PLC0415

    return float(mannwhitneyu(reference.ordered, current.ordered, alternative="less").pvalue)


def cramer_von_mises(reference: Numbers, current: Numbers) -> float | None:
    """Return the p-value of the two-sample test, exact up to 20 rows a side."""
    from scipy.stats import cramervonmises_2samp  # noqa: PLC0415

    if min(len(reference), len(current)) < 2:
        return None
    return float(cramervonmises_2samp(reference.ordered, current.ordered).pvalue)


def anderson_darling(reference: Numbers, current: Numbers) -> float | None:
    """Return the p-value of the two-sample test, between 0.001 and 0.25, where SciPy's table ends."""
    from scipy.stats import anderson_ksamp  # noqa: PLC0415

    if len(reference) + len(current) < ANDERSON_DARLING_ROWS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the table ends
        found = anderson_ksamp([reference.ordered, current.ordered], variant="midrank")
    return float(found.pvalue)


def epps_singleton(reference: Numbers, current: Numbers) -> float | None:
    """Return the p-value of the test on characteristic functions; None when half of all values are one."""
    from scipy.stats import epps_singleton_2samp  # noqa: PLC0415

    low, high = np.percentile(np.concatenate([reference.ordered, current.ordered]), [25, 75])
    if min(len(reference), len(current)) < EPPS_SINGLETON_ROWS or low == high:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a covariance without full rank, and its p-value all the same
        return float(epps_singleton_2samp(reference.ordered, current.ordered).pvalue)


def mean_discrepancy(reference: Numbers, current: Numbers) -> float | None:
    """Return the permutation p-value of the maximum mean discrepancy with a Gaussian kernel."""
    random = np.random.RandomState(PERMUTATION_SEED)  # the legacy generator is Evidently's
    x, y = (_bounded_sample(side, random) for side in (reference, current))
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return None
    kernel = _kernel(x, y)
    # A column for each split of the rows into n and m, the first as they are: 1 where a row is on the first side.
    splits = np.zeros((n + m, PERMUTATIONS + 1))
    splits[:n, 0] = 1.0
    for column in range(1, PERMUTATIONS + 1):
        splits[random.permutation(n + m)[:n], column] = 1.0
    of_row = kernel @ splits
    within = np.sum(splits * of_row, axis=0)
    across = np.sum((1 - splits) * of_row, axis=0)
    others = kernel.sum() - within - 2 * across
    discrepancy = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)
    return float(np.mean(discrepancy[0] <= discrepancy[1:] + _ROUNDING))


def _bounded_sample(side: Numbers, random: np.random.RandomState) -> Values:
    assert side.in_order is not None
    if len(side) <= MEAN_DISCREPANCY_ROWS:
        return side.in_order
    return random.choice(side.in_order, MEAN_DISCREPANCY_ROWS, replace=False)


def _kernel(x: Values, y: Values) -> Values:
    """Return the Gaussian kernel of all pairs without the diagonal, as wide as the reference's median distance."""
    both = np.concatenate([x, y])
    kernel: Values = np.subtract.outer(both, both)
    np.square(kernel, out=kernel)  # in place: the matrix is the largest thing here
    bandwidth = np.percentile(kernel[: len(x), : len(x)], 50, method="nearest") or 1.0
    np.divide(kernel, -bandwidth, out=kernel)
    np.exp(kernel, out=kernel)
    np.fill_diagonal(kernel, 0.0)
    return kernel
