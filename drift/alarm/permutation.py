"""The alarm: a calibrated answer to "did the data change?", whatever the number of rows.

Evidently's flags compare a statistic with a fixed limit, and below some 500 current rows noise alone crosses
it. The alarm is a permutation test instead. If nothing changed, current rows are as good as drawn from the
pool of reference and current rows; so many random draws from that pool tell how large the statistic gets by
chance. Rows are drawn whole, so that correlated features and ties count as they are.

* Features: the largest over features of the two-sample Kolmogorov-Smirnov distance. The maximum is compared
  with maxima, which controls the chance of any false alarm over all features (Westfall & Young 1993,
  "Resampling-Based Multiple Testing"); the p-value of one feature is adjusted in the same way.
* Prediction: the total variation distance between the shares of labels; for numbers the KS distance.

p = (1 + draws at least as extreme) / (1 + draws), which is never zero and makes the test exact (Phipson &
Smyth 2010, "Permutation P-values should never be zero", doi:10.2202/1544-6115.1585). Statistics are compared
as integers, so that ties are ties. The calibration holds for one window whose rows are independent: a window
judged every five minutes gets as many chances to alarm as it holds new rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.rows import Predictions, Reference, Rows

__all__ = ["ALARM_ALPHA", "PERMUTATIONS", "Alarm", "evaluate_alarm", "ks_distance", "total_variation"]

#: Chance of a false alarm of a window, features and prediction together. 1 in 100 is the level of the
#: comparison of methods in facts/drift.md 3.4; each of the two scopes gets half of it (Bonferroni).
ALARM_ALPHA: Final = 0.01
#: Draws; with 999 the smallest p-value is 0.001, a fifth of the level of a scope.
PERMUTATIONS: Final = 999
#: Current rows beyond this are sampled. Against 2000 reference rows or more, 2000 found a shift of one
#: feature among four by 0.2 standard deviations in 120 of 120 windows, by 0.1 in about 60 %.
MAX_CURRENT_ROWS: Final = 2000
#: Fixed, so that the same rows always give the same answer.
ALARM_SEED: Final = 2010

Integers = NDArray[np.int64]
Draws = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The answer of the test.

    `p_values` has the keys `features` and `prediction`; `feature_p_values` has one, adjusted, for each
    feature, so that those at the level of the scope are the ones that raised its alarm.
    """

    features: bool
    prediction: bool
    any: bool
    p_values: Mapping[str, float]
    feature_p_values: Mapping[str, float]


def evaluate_alarm(reference: Reference, current: Rows, *, seed: int = ALARM_SEED) -> Alarm:
    """Test whether `current` may be a draw from the same population as `reference`."""
    random = np.random.default_rng(seed)
    current = _cap(current, random)
    split = _Split.of(len(reference.rows), len(current))
    draws = split.draw(random)
    features = np.concatenate([reference.rows.features, current.features])
    names = reference.schema.feature_names
    distances = [split.ks_distances(features[:, column], draws) for column in range(len(names))]
    largest = np.max(distances, axis=0)
    adjusted = {name: _p_value(largest, distance[0]) for name, distance in zip(names, distances, strict=True)}
    pooled = np.concatenate([reference.rows.predictions, current.predictions])
    number = reference.schema.kind == "number"
    prediction = (split.ks_distances if number else split.label_distances)(pooled, draws)
    p_values = {"features": _p_value(largest, largest[0]), "prediction": _p_value(prediction, prediction[0])}
    raised = {scope: p_value <= ALARM_ALPHA / 2 for scope, p_value in p_values.items()}
    return Alarm(raised["features"], raised["prediction"], any(raised.values()), p_values, adjusted)


def ks_distance(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Return the largest gap between the two distribution functions, 0 to 1. NaN sorts below all numbers."""
    split = _Split.of(len(reference), len(current))
    observed = split.ks_distances(np.concatenate([reference, current]), split.observed)
    return float(observed[0] / split.scale)


def total_variation(reference: Predictions, current: Predictions) -> float:
    """Return the total variation distance between the shares of labels, 0 to 1."""
    split = _Split.of(len(reference), len(current))
    observed = split.label_distances(np.concatenate([reference, current]), split.observed)
    return float(observed[0] / (2 * split.scale))


@dataclass(frozen=True, slots=True)
class _Split:
    """A pool of rows, split in two: `drawn` rows against the `rest`.

    The smaller side is drawn, since the distances are symmetric and their cost is that of the drawn side. A
    draw is a row of indices into the pool; row 0 of `draw` is the split that was observed. All distances are
    integers: multiples of 1 / `scale` (of half of it for labels).
    """

    drawn: int
    rest: int
    observed: Draws

    @classmethod
    def of(cls, reference: int, current: int) -> "_Split":
        if current <= reference:
            return cls(current, reference, np.arange(reference, reference + current)[None, :])
        return cls(reference, current, np.arange(reference)[None, :])

    @property
    def scale(self) -> int:
        return self.drawn * self.rest

    def draw(self, random: np.random.Generator) -> Draws:
        pool = self.drawn + self.rest
        draws = [random.choice(pool, self.drawn, replace=False, shuffle=False) for _ in range(PERMUTATIONS)]
        return np.vstack([self.observed, *draws])

    def ks_distances(self, pooled: NDArray[np.float64], draws: Draws) -> Integers:
        """Return the KS distance of each draw.

        The gap is largest at a drawn value or just before it. With `below` and `up_to` the numbers of pooled
        values less than, and at most, the j-th smallest drawn one, the gaps are j / drawn - (up_to - j) /
        rest, and (below - (j - 1)) / rest - (j - 1) / drawn; times drawn * rest, they are integers.
        """
        values = np.where(np.isnan(pooled), -np.inf, pooled)
        ordered = np.sort(values)
        below = np.searchsorted(ordered, values, side="left").astype(np.int64)
        up_to_of = np.zeros(len(values), dtype=np.int64)
        up_to_of[below] = np.searchsorted(ordered, values, side="right")
        chosen = np.sort(below[draws], axis=1)
        position = np.arange(1, self.drawn + 1) * len(values)
        above = (position - up_to_of[chosen] * self.drawn).max(axis=1)
        beneath = (chosen * self.drawn - (position - len(values))).max(axis=1)
        distances: Integers = np.maximum(above, beneath)
        return distances

    def label_distances(self, pooled: Predictions, draws: Draws) -> Integers:
        """Return the sum over labels of the gap between their shares, for each draw."""
        labels, codes = np.unique(pooled, return_inverse=True)
        total = np.bincount(codes, minlength=len(labels)) * self.drawn
        pool = self.drawn + self.rest
        gaps = [
            np.abs(np.bincount(codes[draw], minlength=len(labels)) * pool - total).sum() for draw in draws
        ]
        return np.array(gaps, dtype=np.int64)


def _cap(current: Rows, random: np.random.Generator) -> Rows:
    if len(current) <= MAX_CURRENT_ROWS:
        return current
    chosen = random.choice(len(current), MAX_CURRENT_ROWS, replace=False, shuffle=False)
    return Rows(current.features[chosen], current.predictions[chosen])


def _p_value(distances: Integers, observed: np.int64) -> float:
    # Row 0 is the observed split itself: the 1 of the formula.
    return float(np.count_nonzero(distances >= observed) / len(distances))
