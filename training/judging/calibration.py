"""Whether probabilities mean what they say: of all rows that got 0.8, are eight in ten right?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "ReliabilityBin", "calibrate"]

#: Bins of equal width, as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (they take 15;
#: with 10 a table of a few hundred held-out rows still has rows in most bins).
_BINS: Final = 10
_BINARY: Final = 2


@dataclass(frozen=True)
class ReliabilityBin:
    """The rows whose highest probability lies in one bin: their number, its mean, and the share that is right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The reliability of the predicted class, and two figures, 0 (best) to 1 (`brier` of three classes or more: to 2).

    `expected_error` is the mean over rows of |confidence - accuracy| of their bin (ECE, Naeini et al., AAAI
    2015). `brier` is the mean squared distance of the probabilities from the truth, summed over classes
    (Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950); of
    two classes half of that, the squared error of one probability, which is the usual binary definition.
    """

    bins: tuple[ReliabilityBin, ...]
    expected_error: float
    brier: float


def calibrate(true: NDArray[np.int64], shares: NDArray[np.float64], labels: tuple[str, ...]) -> Calibration:
    """Compare probabilities (rows x classes) with the true class indexes."""
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == true
    edges = np.linspace(0, 1, _BINS + 1)
    places = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    bins = []
    for place in range(_BINS):
        inside = places == place
        if inside.any():
            found = float(confidence[inside].mean()), float(right[inside].mean())
            bins.append(
                ReliabilityBin(float(edges[place]), float(edges[place + 1]), int(inside.sum()), *found)
            )
    error = sum(one.rows * abs(one.confidence - one.accuracy) for one in bins) / len(true)
    truth = np.eye(len(labels))[true]
    brier = float(((shares - truth) ** 2).sum(axis=1).mean())
    return Calibration(tuple(bins), error, brier / 2 if len(labels) == _BINARY else brier)
