"""How far a figure on held-out rows may be from the truth: 95 % confidence intervals."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

__all__ = ["CONFIDENCE", "accuracy_interval", "r2_interval"]

CONFIDENCE: Final = 0.95

#: The least that Efron and Tibshirani ask for percentile intervals (An Introduction to the Bootstrap, 1993, ch. 13).
_RESAMPLES: Final = 1000
#: Numbers drawn at once: 32 MB.
_DRAWN_AT_ONCE: Final = 4_000_000


def accuracy_interval(right: int, rows: int) -> tuple[float, float]:
    """Return the ends of the Wilson score interval of `right` out of `rows`.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). It
    keeps its level for few rows and near 0 and 1, where the common `p ± 1.96 s` does not (Brown, Cai and
    DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16, 2001).
    """
    interval = binomtest(right, rows).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def r2_interval(
    truth: NDArray[np.floating], predicted: NDArray[np.floating], seed: int
) -> tuple[float, float]:
    """Return the ends of the percentile bootstrap interval of r2 over rows; the same for the same seed.

    A resample whose targets are all alike has no r2 and does not count; NaN when none has one.
    """
    truth, predicted = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    random, rows = np.random.default_rng(seed), len(truth)
    centred = truth - truth.mean()  # sums of squares of large numbers would lose what differs
    errors = (truth - predicted) ** 2
    found: list[NDArray[np.float64]] = []
    at_once = max(1, min(_RESAMPLES, _DRAWN_AT_ONCE // rows))
    for start in range(0, _RESAMPLES, at_once):
        drawn = random.integers(rows, size=(min(at_once, _RESAMPLES - start), rows))
        sample = centred[drawn]
        total = ((sample - sample.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        some = total > 0
        found.append(1 - errors[drawn].sum(axis=1)[some] / total[some])
    values = np.concatenate(found)
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
