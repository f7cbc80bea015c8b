"""False alarms: windows from the population that the reference is from."""

import math
import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.calibration.flags import evidently_flags, scope_flags
from benchmarks.calibration.populations import Population
from drift.alarm.calibration import Calibration
from drift.alarm.verdict import SCOPES
from drift.statistics.kernel import compare
from drift.statistics.prepared import prepare

__all__ = ["SHOWN", "SURE", "Raised", "count_raised", "wilson"]

_SEED: Final = 20261124
#: Windows against one reference: together they have half of its rows at most, so that they hardly err together.
_MOST_WINDOWS: Final = 20
#: Windows of a cell that Evidently's flags are taken of as well.
_EVIDENTLY_WINDOWS: Final = 60
#: Standard normal quantiles of two-sided intervals of 95 % and of 99.9 %.
SHOWN: Final = 1.959964
SURE: Final = 3.290527


@dataclass
class Raised:
    """What was raised in windows of one kind.

    `flags` are those of the scopes. `evidently` are Evidently's, of the dataset and of any feature, of the first
    windows alone: with small references its exact p-values cost far more than ours.
    """

    population: str
    reference_rows: int
    window_rows: int
    flags: list[list[bool]] = field(default_factory=list)
    evidently: list[list[bool]] = field(default_factory=list)
    references: int = 0

    @property
    def any(self) -> float:
        """The share of windows in which any scope was raised."""
        return float(np.any(self.flags, axis=1).mean())

    def shares(self) -> list[float]:
        """Return the share of windows with each flag."""
        return [*np.mean(self.flags, axis=0).tolist(), *np.mean(self.evidently, axis=0).tolist()]

    def interval(self, quantile: float = SHOWN) -> tuple[float, float]:
        """Return Wilson's interval, of as many windows as would tell as much if they shared no reference."""
        raised = np.any(self.flags, axis=1)
        groups = raised.reshape(self.references, -1)
        alone = raised.mean() * (1 - raised.mean()) / groups.shape[1]
        effect = max(groups.mean(axis=1).var(ddof=1) / alone, 1.0) if alone > 0 else 1.0
        return wilson(float(raised.mean()), len(raised) / effect, quantile)

    def as_json(self) -> dict[str, object]:
        """Return the figures by name."""
        names = [*SCOPES, "evidently_dataset", "evidently_feature"]
        return {
            "population": self.population,
            "reference_rows": self.reference_rows,
            "window_rows": self.window_rows,
            "windows": len(self.flags),
            "references": self.references,
            "any": self.any,
            "interval": self.interval(),
            **dict(zip(names, self.shares(), strict=True)),
        }


def count_raised(
    population: Population, reference_rows: int, window_rows: int, repeats: int, seconds: float
) -> Raised:
    """Draw references and windows without a change until there are `repeats` windows or the time is over."""
    found = Raised(population.name, reference_rows, window_rows)
    random = np.random.default_rng((_SEED, reference_rows, window_rows))
    windows = min(max(reference_rows // (2 * window_rows), 1), _MOST_WINDOWS)
    ends = time.monotonic() + seconds
    while len(found.flags) < repeats and (found.references < 2 or time.monotonic() < ends):
        reference = population.reference(random, reference_rows)
        calibration, prepared = Calibration(reference, found.references), prepare(reference)
        found.references += 1
        for _ in range(windows):
            current = population.draw(random, window_rows)
            found.flags.append(scope_flags(calibration.test(current)))
            if len(found.evidently) < _EVIDENTLY_WINDOWS:
                found.evidently.append(evidently_flags(compare(prepared, current)))
    return found


def wilson(share: float, count: float, quantile: float = SHOWN) -> tuple[float, float]:
    """Return the interval of a share of `count` (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    centre = (share + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    half = (
        quantile
        / (1 + quantile**2 / count)
        * math.sqrt(share * (1 - share) / count + quantile**2 / (4 * count**2))
    )
    return max(centre - half, 0.0), min(centre + half, 1.0)
