"""Where rows come from, and how that may change: all is known, so that what is raised without a change is false."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from drift.rows import Reference, Rows, Schema

__all__ = ["CHANGES", "POPULATIONS", "Change", "Population", "of_normals"]

_CATEGORY_SHARES: Final = (0.4, 0.3, 0.15, 0.1, 0.05)
_LABELS: Final = np.array(["high", "low", "middle"], dtype=object)

Features = NDArray[np.float64]
Change = Callable[[Features], None]


@dataclass(frozen=True)
class Population:
    """Where rows come from. `categories` are as in a schema, `observe` draws the features."""

    name: str
    categories: tuple[tuple[str, ...], ...]
    observe: Callable[[np.random.Generator, int], Features]

    def draw(self, random: np.random.Generator, rows: int, change: Change | None = None) -> Rows:
        """Return rows, changed or not, with labels that follow the first feature."""
        features = self.observe(random, rows)
        if change is not None:
            change(features)
        return Rows(features, _LABELS[np.digitize(features[:, 0] + random.normal(size=rows), (-1.0, 1.0))])

    def reference(self, random: np.random.Generator, rows: int) -> Reference:
        """Return rows as a reference."""
        names = tuple(f"feature_{place}" for place in range(len(self.categories)))
        return Reference(Schema(names, "label", self.categories), self.draw(random, rows), rows)


def _mixed(normals: Features) -> Features:
    """Turn each four normals into a normal, a lognormal, a count and a category."""
    features = normals.copy()
    features[:, 1::4] = np.exp(normals[:, 1::4])
    features[:, 2::4] = np.floor(np.exp(normals[:, 2::4] / 2 + 1))
    features[:, 3::4] = np.digitize(ndtr(normals[:, 3::4]), np.cumsum(_CATEGORY_SHARES)[:-1])
    return features


def _four(random: np.random.Generator, rows: int) -> Features:
    return _mixed(random.normal(size=(rows, 4)))


def _twenty(random: np.random.Generator, rows: int) -> Features:
    """Draw 20 features of which the last twelve have correlations of 0.7 before they are mixed."""
    normals = random.normal(size=(rows, 20))
    normals[:, 8:] = math.sqrt(0.3) * normals[:, 8:] + math.sqrt(0.7) * random.normal(size=(rows, 1))
    return _mixed(normals)


def _awkward(random: np.random.Generator, rows: int) -> Features:
    """Draw heavy tails, a lognormal with two values in 1,000 missing, zeros in 60 % of the rows, 40 categories."""
    lognormal = np.where(random.random(rows) < 0.002, np.nan, random.lognormal(size=rows))
    zeros = np.maximum(random.normal(size=rows) - 0.2533, 0)
    return np.stack(
        [random.standard_cauchy(rows), lognormal, zeros, np.floor(40 * random.random(rows) ** 3)], 1
    )


_TEXTS: Final = tuple(f"c{place:02d}" for place in range(40))
_MIXED_TEXTS: Final = ((), (), (), _TEXTS[: len(_CATEGORY_SHARES)])
POPULATIONS: Final = (
    Population("4 mixed", _MIXED_TEXTS, _four),
    Population("20, 12 correlated", _MIXED_TEXTS * 5, _twenty),
    Population("4 awkward", ((), (), (), _TEXTS), _awkward),
)


def _shift(deviations: float) -> Change:
    def change(features: Features) -> None:
        features[:, 0] += deviations

    return change


def _widen(features: Features) -> None:
    features[:, 0] *= 1.5


def _swap_mix(features: Features) -> None:
    features[:, 3] = np.array([2, 1, 0, 3, 4])[features[:, 3].astype(int)]


def _correlate(features: Features) -> None:
    features[:, 1] = np.exp(0.6 * features[:, 0] + 0.8 * np.log(features[:, 1]))


CHANGES: Final[dict[str, Change]] = {
    "mean + 0.25 sd": _shift(0.25),
    "mean + 0.5 sd": _shift(0.5),
    "mean + 1 sd": _shift(1.0),
    "sd x 1.5": _widen,
    "40 % and 15 % of a category swapped": _swap_mix,
    "correlation 0 to 0.6": _correlate,
}


def of_normals(populations: Sequence[Population]) -> list[Population]:
    """Leave out the awkward features: the changes are those of normals, lognormals and the five categories."""
    return [one for one in populations if one.categories[3] == _MIXED_TEXTS[3]]
