"""The accuracy of rows without labels, estimated from how confident the model was.

The highest class probability of a row, calibrated on the reference, is its chance of being right; the mean over rows is
their expected accuracy (NannyML calls it confidence-based performance estimation). The interval is where the accuracy
of these very rows lies 95 times in 100, **if the relation of confidence and truth is still that of the reference**. The
rows may be harder or easier than those of the reference; a model that became wrong without becoming unsure is not
seen, and needs labels (`drift.accuracy.realised`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.accuracy.accuracy import Accuracy
from drift.accuracy.calibration import Calibration
from drift.rows import Reference, Rows

__all__ = ["MIN_CALIBRATION_ROWS", "AccuracyEstimator"]

#: With 50 rows and an overconfident model the interval covered the truth in 88 of 100 windows, with 150 in 95.
MIN_CALIBRATION_ROWS: Final = 100
#: A 95 % interval.
_TAILS: Final = (0.025, 0.975)
#: Fixed, so that the same rows always give the same interval.
_INTERVAL_SEED: Final = 1927
#: Keeps the two counts of a Beta distribution above zero.
_TINY: Final = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AccuracyEstimator:
    """Estimates the accuracy of rows from their confidences."""

    calibration: Calibration

    @classmethod
    def fit(cls, reference: Reference) -> "AccuracyEstimator | None":
        """Calibrate on the reference; None where that cannot be, for which `obstacle` has the words."""
        if cls.obstacle(reference):
            return None
        return cls(Calibration.fit(*_calibration_rows(reference.rows)))

    @staticmethod
    def obstacle(reference: Reference) -> str:
        """Say why accuracy cannot be estimated with this reference; empty when it can."""
        if reference.schema.kind == "number":
            return "the predictions are numbers, which have no accuracy"
        missing = [
            name
            for name, column in (
                ("confidence", reference.rows.confidences),
                ("target", reference.rows.targets),
            )
            if column is None
        ]
        if missing:
            return (
                f"the reference has no column {' and no column '.join(missing)}; train the model again, or add "
                "the highest class probability of each row (confidence) and the true label (target)"
            )
        count = len(_calibration_rows(reference.rows)[0])
        if count < MIN_CALIBRATION_ROWS:
            return (
                f"{count} rows of the reference have both confidence and target and {MIN_CALIBRATION_ROWS} are "
                "needed; add rows that have them"
            )
        return ""

    def estimate(self, rows: Rows) -> Accuracy | None:
        """Estimate the accuracy of the rows that have a confidence; None when none has."""
        if rows.confidences is None:
            return None
        confidences = rows.confidences[np.isfinite(rows.confidences)]
        if not len(confidences):
            return None
        weights = self.calibration.weights(confidences)
        value = float(self.calibration.chances @ weights)
        low, high = self._interval(weights, len(confidences))
        return Accuracy(value, min(low, value), max(high, value), len(confidences))

    def _interval(self, weights: Floats, rows: int) -> tuple[float, float]:
        """Return where the accuracy of `rows` rows may lie, for each draw of the calibration and each chance of it.

        Given the chances, the number of right rows has their sum for its mean and the sum of p (1 - p) for its
        variance. A Beta distribution with these two moments stands for its distribution, skewed as that is near 1.
        """
        draws = self.calibration.draws
        mean = np.clip(draws @ weights, _TINY, 1 - _TINY)
        variance = np.maximum((draws * (1 - draws)) @ weights / rows, _TINY**2)
        counts = np.maximum(mean * (1 - mean) / variance - 1, _TINY)
        shares = np.random.default_rng(_INTERVAL_SEED).beta(counts * mean, counts * (1 - mean))
        low, high = np.quantile(shares, _TAILS)
        half_a_row = 0.5 / rows  # a number of rows is whole
        return max(0.0, float(low) - half_a_row), min(1.0, float(high) + half_a_row)


def _calibration_rows(rows: Rows) -> tuple[Floats, NDArray[np.bool_]]:
    """Return confidence, and whether the prediction was right, of the rows that tell both."""
    assert rows.confidences is not None, "asked only of a reference that has both"
    assert rows.targets is not None, "asked only of a reference that has both"
    known = np.isfinite(rows.confidences) & np.array([target is not None for target in rows.targets])
    return rows.confidences[known], (rows.predictions[known] == rows.targets[known]).astype(np.bool_)
