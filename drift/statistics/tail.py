"""How likely a statistic this large is when nothing changed: the tails of two laws, without SciPy.

`scipy.special` has them as well, for 28 MiB and 0.3 s at start, which the service would carry for these alone.
"""

import math

import numpy as np

__all__ = ["chi_square_tail", "normal_tails"]


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-square variable of `degrees`, at least 1, exceeds `statistic`.

    The upper incomplete gamma function of half a whole number is a finite sum of positive terms
    (Abramowitz & Stegun 1964, 26.4.4 and 26.4.5), here of their logarithms so that none overflows.
    """
    if not 0 < statistic < math.inf:
        return 1.0 if statistic <= 0 else 0.0
    half = statistic / 2
    first = 0.5 if degrees % 2 else 0.0
    powers = first + np.arange(degrees // 2)
    log_gamma = math.lgamma(first + 1) + np.cumsum(
        np.log(powers, where=powers > first, out=np.zeros(len(powers)))
    )
    total = float(np.sum(np.exp(powers * math.log(half) - half - log_gamma)))
    return min(total + (math.erfc(math.sqrt(half)) if degrees % 2 else 0.0), 1.0)


def normal_tails(deviations: float) -> float:
    """Return the probability that a normal variable is so many deviations from its mean, in either direction.

    In Evidently's form, 2 (1 - Φ), with what that loses to cancellation when the probability is small.
    """
    return 2 * (1 - 0.5 * math.erfc(-abs(deviations) / math.sqrt(2)))
