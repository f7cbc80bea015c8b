"""What the statistics do when nothing changed, and how rare that makes those that were seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from drift.alarm.distances import Floats
from drift.alarm.sample import Sample

__all__ = ["DRAWS", "Gauge", "Null", "PValues", "batches", "draw_null"]

#: Windows drawn. At a level of 0.0025 the fifth largest of 1,999 decides, so that what a service lives with, once
#: drawn, is 0.0025 with a standard deviation of 0.0011.
DRAWS: Final = 1999
#: Codes counted at once: what stays in the cache.
_BATCH_CODES: Final = 200_000
#: Least mean and variance of a distance, those of half a chi-square with one degree of freedom: a column that is
#: constant in the reference has none of its own.
_LEAST_MOMENT: Final = 0.5
#: Scores that differ by less are equal: the same counts in another order of addition.
_TOLERANCE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Gauge:
    """Makes statistics comparable: the cube root of a scaled chi-square is nearly normal.

    Scale and degrees of freedom are those that fit mean and variance (Satterthwaite 1946, doi:10.2307/3002019;
    Wilson & Hilferty 1931, doi:10.1073/pnas.17.12.684).
    """

    mean: Floats
    variance: Floats

    @classmethod
    def of(cls, statistics: Floats) -> "Gauge":
        """Fit the columns of statistics, (draws, columns)."""
        mean, variance = statistics.mean(axis=0), statistics.var(axis=0)
        return cls(np.maximum(mean, _LEAST_MOMENT), np.maximum(variance, _LEAST_MOMENT))

    def standardise(self, statistics: Floats) -> Floats:
        """Return the statistics as normal scores; higher stays higher."""
        part = self.variance / (9 * self.mean**2)
        scores: Floats = (np.cbrt(statistics / self.mean) - (1 - part)) / np.sqrt(part)
        return scores


@dataclass(frozen=True, slots=True)
class PValues:
    """Those of each feature, adjusted for their number, of the predictions, and of the features together."""

    features: list[float]
    prediction: float
    joint: float

    def of_scopes(self) -> dict[str, float]:
        """Return the one of each scope."""
        features = min(self.features, default=1.0)
        return {"features": features, "prediction": self.prediction, "joint": self.joint}


@dataclass(frozen=True, slots=True)
class Null:
    """The scores of drawn windows, sorted: the largest over features, those of the predictions, the joint ones.

    `unseen` is 1 unless the window that is asked for is among those drawn: it counts as one draw more.
    """

    columns: Gauge
    joint: Gauge
    largest: Floats
    prediction: Floats
    dependent: Floats
    unseen: int = 1

    @classmethod
    def of(cls, distances: Floats, pairs: Floats, unseen: int = 1) -> "Null":
        """Fit to the distances of drawn windows, (windows, columns), and the statistics of their pairs."""
        columns, joint = Gauge.of(distances), Gauge.of(pairs)
        scores = columns.standardise(distances)
        return cls(
            columns=columns,
            joint=joint,
            largest=np.sort(scores[:, :-1].max(axis=1, initial=-np.inf)),
            prediction=np.sort(scores[:, -1]),
            dependent=np.sort(joint.standardise(pairs).max(axis=1)),
            unseen=unseen,
        )

    def p_values(self, distances: Floats, pairs: Floats) -> PValues:
        """Return how rare the distances of one window are, (columns,), and the statistics of its pairs."""
        scores = self.columns.standardise(distances)
        dependent = self.joint.standardise(pairs).max(keepdims=True)
        return PValues(
            features=self._rarity(self.largest, scores[:-1]),
            prediction=self._rarity(self.prediction, scores[-1:])[0],
            joint=self._rarity(self.dependent, dependent)[0],
        )

    def _rarity(self, drawn: Floats, scores: Floats) -> list[float]:
        extreme = len(drawn) - drawn.searchsorted(scores - _TOLERANCE)
        return [float(p_value) for p_value in (extreme + self.unseen) / (len(drawn) + self.unseen)]


def draw_null(sample: Sample, size: int, share: float, random: np.random.Generator) -> Null:
    """Compare windows of `size` rows, drawn with replacement, with the whole sample; `share` as in `distances`."""
    distances, pairs = [], []
    for count in batches(size * sample.codes.shape[1]):
        counts, statistics = sample.measure(random.integers(0, len(sample), (count, size)))
        distances.append(sample.distances(counts, sample.counts, share=share, size=size))
        pairs.append(statistics)
    return Null.of(np.concatenate(distances), np.concatenate(pairs))


def batches(codes: int) -> Iterator[int]:
    """Yield how many windows of so many codes to measure at once, `DRAWS` in all."""
    most = max(_BATCH_CODES // codes, 1)
    for start in range(0, DRAWS, most):
        yield min(most, DRAWS - start)
