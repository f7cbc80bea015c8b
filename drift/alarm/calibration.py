"""The alarm of one evaluation: a calibrated answer to "did the data change?", whatever the number of rows.

Evidently's flags compare a statistic with a fixed limit, and below some 500 current rows noise alone crosses it.
Here the reference itself says how large a statistic gets by chance: windows of the size of the current one are drawn
from its rows and compared with it, once for each size, in the background. What is left for an evaluation is to count.

* `features`: the largest distance over features, against the largest of each drawn window (Westfall & Young 1993,
  "Resampling-Based Multiple Testing"). Rows are drawn whole, so that correlated features cost nothing, and the
  p-value of a single feature is adjusted in the same way.
* `prediction`: the distance of the predictions alone.
* `joint`: the correlations of the features, which can change while every feature keeps its distribution.

p = (1 + draws at least as extreme) / (1 + draws) is never zero (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
The reference is a sample too: a window of m rows against n is drawn with 1 / (1/m + 1/n) rows, which varies as much
as the difference of the two. It holds for one window of independent rows: windows that share rows err together.
"""

import math
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from drift.alarm.bins import CODES, Codes
from drift.alarm.distances import Floats
from drift.alarm.exact import exact_p_values
from drift.alarm.null import Null, PValues, draw_null
from drift.alarm.sample import Sample, columns_of
from drift.alarm.verdict import Finding
from drift.rows import Reference, Rows

__all__ = ["ALARM_SEED", "EXACT_REFERENCE_ROWS", "LEVELS", "Calibration"]

#: Chance of a false finding of each scope, 6 in 1,000 together. What is promised is 10 in 1,000: the rest is for what
#: drawn windows do not know of the population, and for one service's draws being luckier than another's.
LEVELS: Final[Mapping[str, float]] = MappingProxyType(
    {"features": 0.0025, "prediction": 0.0015, "joint": 0.002}
)
#: Fixed, so that the same rows always give the same answer.
ALARM_SEED: Final = 2010
#: A reference of at most so many rows is not taken at its word: what it finds is tested again, exactly. Of 500 rows
#: with rare values the drawn windows alone gave four times the false findings of the level (benchmarks/calibration).
EXACT_REFERENCE_ROWS: Final = 10_000
#: P-values up to so many times their level are tested again.
_DOUBT: Final = 2.0
#: Windows beyond this size are drawn with this one: scaled by their size the statistics hardly change any more.
_MOST_DRAWN_ROWS: Final = 2000
#: Current rows whose correlations are taken; of more, a sample.
_MOST_JOINT_ROWS: Final = 2000
#: Sizes up to this are drawn each for itself, greater ones in steps of a tenth.
_EXACT_SIZES: Final = 20
_STEP: Final = 1.1


class Calibration:
    """What the alarm knows of a reference.

    `prepare` may run in one thread while `test` runs in another; `test` waits where it needs what is being prepared.
    """

    def __init__(self, reference: Reference, seed: int = ALARM_SEED) -> None:
        self._reference, self._seed = reference, seed
        self._sample = Sample.of(reference, np.random.default_rng(seed))
        self._nulls: dict[int, Null] = {}
        self._lock = threading.Lock()

    def prepare(self, rows: int) -> None:
        """Draw what windows of about so many rows are compared with, unless it is there."""
        self._null(rows)

    def test(self, current: Rows) -> Finding:
        """Return how likely rows like these are if nothing changed; at least one row."""
        found = self._compare(current)
        if len(self._sample) <= EXACT_REFERENCE_ROWS and _in_doubt(found):
            found = exact_p_values(
                self._reference, current, np.random.default_rng((self._seed, len(current)))
            )
        names = self._reference.schema.feature_names
        return Finding(
            p_values=found.of_scopes(),
            feature_p_values=dict(zip(names, found.features, strict=True)),
            levels=LEVELS,
        )

    def _compare(self, current: Rows) -> PValues:
        rows, known = len(current), len(self._sample)
        columns = zip(self._sample.bins, columns_of(current), strict=True)
        codes = [bins.codes(column) for bins, column in columns]
        counts = np.stack([np.bincount(column, minlength=CODES) for column in codes])
        distances = self._sample.distances(
            counts, self._sample.counts, share=rows / (rows + known), size=_effective(rows, known)
        )
        return self._null(rows).p_values(distances, self._pair_statistics(codes[:-1]))

    def _pair_statistics(self, codes: list[Codes]) -> Floats:
        rows = len(codes[0]) if codes else 0
        kept = np.arange(rows)
        if rows > _MOST_JOINT_ROWS:
            random = np.random.default_rng((self._seed, rows))
            kept = random.choice(rows, _MOST_JOINT_ROWS, replace=False, shuffle=False)
        window = np.stack([column[kept] for column in codes], axis=1)
        size = _effective(len(kept), len(self._sample))
        statistics: Floats = self._sample.pair_statistics(window[None], size)[0]
        return statistics

    def _null(self, rows: int) -> Null:
        known = len(self._sample)
        size = _size_class(_effective(rows, known))
        # Drawing holds the lock: a test that needs the same null waits for it, and would not be quicker alone.
        with self._lock:
            if size not in self._nulls:
                # The smaller side is drawn, and size / known is the part that the current rows have in both.
                share = max(min(size / known, 1 - size / known), 0.0)
                random = np.random.default_rng((self._seed, size))
                self._nulls[size] = draw_null(self._sample, size, share, random)
            return self._nulls[size]


def _in_doubt(found: PValues) -> bool:
    return any(p_value <= _DOUBT * LEVELS[scope] for scope, p_value in found.of_scopes().items())


def _effective(rows: int, known: int) -> float:
    """Return the size of a sample that varies as much as the difference of these two."""
    return 1 / (1 / rows + 1 / known)


def _size_class(size: float) -> int:
    if size < _EXACT_SIZES:
        return max(round(size), 1)
    steps = math.floor(math.log(min(size, _MOST_DRAWN_ROWS) / _EXACT_SIZES) / math.log(_STEP))
    return round(_EXACT_SIZES * _STEP**steps)
