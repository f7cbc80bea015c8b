"""The law of the Kolmogorov-Smirnov statistic of one sample, with the values that SciPy gives (`scipy.stats.kstwo`).

It is what the two-sample test is taken to follow when samples are large. Simard & L'Ecuyer 2011, "Computing the
Two-Sided Kolmogorov-Smirnov Distribution" (J. Stat. Software 39/11), say which formula holds where, and SciPy follows
them. `scipy.stats` has it as well, for 74 MiB with what it needs.
"""

import math
from typing import Final

import numpy as np

from drift.statistics.sample import Values

__all__ = ["gap_exceeded"]

#: Samples up to this size have exact formulas throughout.
_SMALL: Final = 140
#: From these values of n d² on, both directions are as good as exclusive: twice the one-sided probability.
_EXCLUSIVE_SMALL, _EXCLUSIVE = 4.0, 2.2
#: The matrix formula is used for larger samples while n d^1.5 and n are at most these.
_MATRIX_WIDTH, _MATRIX_ROWS = 1.4, 100_000
#: Terms of the limit's series; they fall at least with exp(-2 k²), so that five of them reach the last digit.
_TERMS: Final = np.arange(-12, 13)


def gap_exceeded(rows: int, gap: float) -> float:
    """Return the probability that the largest gap between a law and a sample of `rows` is at least `gap`."""
    if gap >= 1:
        return 0.0
    if rows * gap <= 0.5:
        return 1.0
    small = rows <= _SMALL
    if gap >= 0.5 or rows * gap**2 >= (_EXCLUSIVE_SMALL if small else _EXCLUSIVE):
        return min(2 * _one_sided(rows, gap), 1.0)
    if small or (rows * gap**1.5 <= _MATRIX_WIDTH and rows <= _MATRIX_ROWS):
        return 1 - _within_by_matrix(rows, gap)
    return min(max(1 - _within_by_limit(rows, gap), 0.0), 1.0)


def _one_sided(rows: int, gap: float) -> float:
    """Return the probability for one direction: the exact sum of Smirnov 1944 and Birnbaum & Tingey 1951."""
    j = np.arange(int(rows * (1 - gap)) + 1)
    behind, ahead = gap + j / rows, 1 - gap - j / rows
    j, behind, ahead = j[ahead > 0], behind[ahead > 0], ahead[ahead > 0]
    logs = np.cumsum(np.log(np.concatenate([[1.0], np.arange(1, rows + 1)])))  # of the factorials
    chosen = logs[rows] - logs[j] - logs[rows - j]
    return float(gap * np.sum(np.exp(chosen + (j - 1) * np.log(behind) + (rows - j) * np.log(ahead))))


def _within_by_matrix(rows: int, gap: float) -> float:
    """Return the exact probability of a smaller gap: Marsaglia, Tsang & Wang 2003 (J. Stat. Software 8/18)."""
    k = math.floor(rows * gap) + 1
    size, h = 2 * k - 1, k - rows * gap
    steps = np.subtract.outer(np.arange(size), np.arange(size)) + 1
    matrix = np.where(steps >= 0, 1.0, 0.0)
    powers = h ** np.arange(1, size + 1)
    matrix[:, 0] -= powers
    matrix[-1, :] -= powers[::-1]
    matrix[-1, 0] += max(2 * h - 1, 0.0) ** size
    factorials = np.array([math.lgamma(step + 1) for step in range(size + 1)])
    matrix *= np.exp(-factorials[np.maximum(steps, 0)])
    power, logarithm = _matrix_power(matrix, rows)
    logarithm += math.lgamma(rows + 1) - rows * math.log(rows)
    return float(power[k - 1, k - 1] * math.exp(logarithm))


def _matrix_power(matrix: Values, exponent: int) -> tuple[Values, float]:
    """Return a matrix, and the logarithm of what it is to be multiplied by to be the power."""
    result, scale, square_scale = np.eye(len(matrix)), 0.0, 0.0
    square = matrix
    while exponent:
        if exponent % 2:
            result, scale = result @ square, scale + square_scale
            largest = float(result.max())
            result, scale = result / largest, scale + math.log(largest)
        square, square_scale = square @ square, 2 * square_scale
        largest = float(square.max())
        square, square_scale = square / largest, square_scale + math.log(largest)
        exponent //= 2
    return result, scale


def _within_by_limit(rows: int, gap: float) -> float:
    """Return the probability of a smaller gap by the expansion of Pelz & Good 1976 (J. R. Stat. Soc. B 38/2)."""
    z = math.sqrt(rows) * gap
    z2, z4, z6, z8 = z**2, z**4, z**6, z**8
    odd, even = (math.pi * (_TERMS + 0.5)) ** 2, (math.pi * _TERMS) ** 2
    of_odd, of_even = np.exp(-odd / (2 * z2)), np.exp(-even / (2 * z2))
    k0 = np.sum(of_odd) / z
    k1 = np.sum((odd - z2) * of_odd) / (6 * z4)
    k2 = np.sum((6 * z6 + 2 * z4 + odd * (2 * z4 - 5 * z2) + odd**2 * (1 - 2 * z2)) * of_odd) / (72 * z**7)
    k2 -= np.sum(even * of_even) / (36 * z**3)
    cubic = odd**3 * (5 - 30 * z2) + odd**2 * (212 * z4 - 60 * z2)
    cubic += odd * (135 * z4 - 96 * z6) - (30 * z6 + 90 * z8)
    k3 = np.sum(cubic * of_odd) / (6480 * z**10) + np.sum((3 * even * z2 - even**2) * of_even) / (216 * z6)
    return float(math.sqrt(math.pi / 2) * (k0 + k1 / rows**0.5 + k2 / rows + k3 / rows**1.5))
