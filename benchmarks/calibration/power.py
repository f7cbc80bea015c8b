"""Power: windows from populations that changed."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.calibration.flags import evidently_flags, scope_flags
from benchmarks.calibration.populations import CHANGES, Population
from drift.alarm.calibration import Calibration
from drift.alarm.persistence import Persistence
from drift.alarm.verdict import SCOPES
from drift.statistics.kernel import compare
from drift.statistics.prepared import prepare

__all__ = ["Power", "measure_power"]

_SEED: Final = 20261124
#: Power is measured against references of this size, which each stay for so many pairs of windows.
_POWER_REFERENCE: Final = 5_000
_POWER_PAIRS: Final = 10


@dataclass(frozen=True)
class Power:
    """How often a change is found: in one window, in two windows in a row, and by Evidently's flags."""

    population: str
    change: str
    window_rows: int
    windows: int
    once: float
    twice: float
    scopes: dict[str, float]
    evidently_dataset: float
    evidently_feature: float


def measure_power(population: Population, name: str, window_rows: int, repeats: int, seconds: float) -> Power:
    """Draw pairs of changed windows until there are `repeats` pairs or the time is over."""
    random = np.random.default_rng((_SEED, window_rows))
    flags: list[list[bool]] = []
    twice: list[bool] = []
    ends = time.monotonic() + seconds
    while len(twice) < repeats and (not twice or time.monotonic() < ends):
        reference = population.reference(random, _POWER_REFERENCE)
        calibration, prepared = Calibration(reference, len(twice)), prepare(reference)
        for _ in range(_POWER_PAIRS):
            persistence = Persistence()
            for _ in range(2):
                current = population.draw(random, window_rows, CHANGES[name])
                finding = calibration.test(current)
                alarm, scopes = persistence.update(finding), scope_flags(finding)
                flags.append([*scopes, any(scopes), *evidently_flags(compare(prepared, current))])
            twice.append(alarm.any)
    shares = np.mean(flags, axis=0).tolist()
    scopes_found = dict(zip(SCOPES, shares, strict=False))
    return Power(
        population=population.name,
        change=name,
        window_rows=window_rows,
        windows=len(flags),
        once=shares[3],
        twice=float(np.mean(twice)),
        scopes=scopes_found,
        evidently_dataset=shares[4],
        evidently_feature=shares[5],
    )
