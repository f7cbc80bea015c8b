"""What a confidence is worth: the chance of being right as a function of the highest class probability.

The function rises and is otherwise free (isotonic calibration: Zadrozny & Elkan 2002, "Transforming classifier scores
into accurate multiclass probability estimates", doi:10.1145/775047.775151). It is held at some knots, which stand at
the mean confidences of groups of about as many rows each, with straight lines between them.

How far the function may be off is drawn from its projected posterior: the chance of each group has a Beta posterior of
its own, and each draw of all of them is made to rise (Chakraborty & Ghosal 2021, "Coverage of credible intervals in
nonparametric monotone regression", doi:10.1214/20-AOS1989). Unlike a bootstrap of the rows this leaves doubt where all
rows of a group are right, as in a small reference most are.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "isotonic"]

Floats = NDArray[np.float64]

#: Groups for each cube root of the rows, the order that the posterior above asks for: 150 rows have 11, 50,000 have 74.
GROUPS_PER_CUBE_ROOT: Final = 2.0
#: Rows that the prior counts for in each group: small references lean on it, large ones do not.
PRIOR_ROWS: Final = 1.0
#: With 1000 draws a bound of the interval is where 2.5 % of them lie beyond, give or take 0.5 %.
DRAWS: Final = 1000
#: So many draws at once need 4 MiB with 74 groups.
_PARTS: Final = 20
#: Fixed, so that the same reference always gives the same calibration.
CALIBRATION_SEED: Final = 2002


@dataclass(frozen=True, slots=True)
class Calibration:
    """The rising function and draws of what it may be instead.

    `knots` are confidences in rising order. `chances` has for each of them the chance of being right, shape
    (knots,), and `draws` the same for each draw, shape (draws, knots).
    """

    knots: Floats
    chances: Floats
    draws: Floats

    @classmethod
    def fit(cls, confidences: Floats, right: NDArray[np.bool_]) -> "Calibration":
        """Calibrate on rows: their confidences, and whether the prediction of each was right; one row at least."""
        group, rows = _group(confidences)
        knots = np.bincount(group, confidences) / rows
        hits = np.bincount(group, right).astype(np.float64)
        weights = rows + PRIOR_ROWS
        centres = (hits + _prior(knots, rows, hits) * PRIOR_ROWS) / weights
        # The prior moves the centre and adds no certainty: its scale was found on the same rows.
        random = np.random.default_rng(CALIBRATION_SEED)
        drawn = random.beta(rows * centres, rows * (1 - centres), (DRAWS, len(knots)))
        risen = np.concatenate([isotonic(part, weights) for part in np.array_split(drawn, _PARTS)])
        return cls(knots, isotonic(centres, weights), risen)

    def weights(self, confidences: Floats) -> Floats:
        """Return for each knot its share in rows with these confidences: they add up to 1.

        The mean over the rows of any function that is held at the knots is its product with them. Below the first
        knot and above the last the function goes on as it is there.
        """
        places = np.interp(confidences, self.knots, np.arange(len(self.knots)))
        below = np.floor(places).astype(np.intp)
        part = places - below
        shares = np.bincount(below, 1 - part, len(self.knots) + 1) + np.bincount(
            below + 1, part, len(self.knots) + 1
        )
        return shares[:-1] / len(confidences)


def isotonic(values: Floats, weights: Floats) -> Floats:
    """Return the rising values with the smallest weighted squared distance to `values`, along the last axis.

    By the min-max formula (Robertson, Wright & Dykstra 1988, "Order Restricted Statistical Inference", 1.4): at each
    place the largest, over beginnings up to it, of the smallest, over ends from it, of the weighted means between.
    It gives what pooling of adjacent violators gives, for many rows of values without a loop in Python.
    """
    count = len(weights)
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    total = np.zeros((*values.shape[:-1], count + 1))
    np.cumsum(values * weights, axis=-1, out=total[..., 1:])
    spread = np.where(np.triu(np.ones((count, count), bool)), mass[None, 1:] - mass[:-1, None], np.inf)
    means = (total[..., None, 1:] - total[..., :-1, None]) / spread
    before = np.tri(count, k=-1, dtype=bool)  # an end before its beginning is none
    means[..., before] = np.inf
    smallest = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
    smallest[..., before] = -np.inf
    risen: Floats = smallest.max(axis=-2)
    return risen


def _group(confidences: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the group of each row, and the rows of each group; equal confidences are in one group."""
    count = max(1, round(GROUPS_PER_CUBE_ROOT * len(confidences) ** (1 / 3)))
    borders = np.quantile(confidences, np.arange(1, count) / count)
    _, group, rows = np.unique(np.searchsorted(borders, confidences), return_inverse=True, return_counts=True)
    return group, rows.astype(np.float64)


def _prior(knots: Floats, rows: Floats, hits: Floats) -> Floats:
    """Return the chance of being right that the model claims, with its errors scaled to the number that it made.

    Many models claim too much, and as a prior that would count again in each group.
    """
    claimed = 1 - knots
    # One error more on both sides: a handful of errors says little about their number.
    scale = (np.sum(rows - hits) + 1) / (claimed @ rows + 1)
    # Half an error in all groups together, as Jeffreys' prior of one share has: no errors are no proof of none.
    scale = max(scale, 0.5 / max(claimed.sum() * PRIOR_ROWS, 0.5))
    # A claim of exactly 1 is no certainty, and a Beta distribution needs both of its counts.
    chances: Floats = np.clip(1 - scale * claimed, 0.01, 0.99)
    return chances
