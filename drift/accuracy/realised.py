"""The accuracy that came true: predictions against labels that arrived late."""

import math
from typing import Final

from drift.accuracy.accuracy import Accuracy
from drift.rows import Rows

__all__ = ["realised", "wilson_interval"]

#: The normal distribution lies with 95 % of its mass within so many standard deviations.
_Z_95: Final = 1.959963984540054


def realised(rows: Rows) -> Accuracy | None:
    """Return the share of right predictions among the rows whose label is known.

    None when none is, and for predictions that are numbers, which are more or less wrong instead of right or wrong.
    """
    if rows.targets is None or rows.predictions.dtype != object:
        return None
    pairs = [
        (label, target)
        for label, target in zip(rows.predictions, rows.targets, strict=True)
        if target is not None
    ]
    if not pairs:
        return None
    right = sum(label == target for label, target in pairs)
    low, high = wilson_interval(right, len(pairs))
    return Accuracy(right / len(pairs), low, high, len(pairs))


def wilson_interval(right: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, "Probable inference, the law of succession").

    It stays within 0 and 1, and does not shrink to a point when all are right or all are wrong.
    """
    share, z2 = right / rows, _Z_95**2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = _Z_95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    # Rounding must not put the share itself outside.
    return max(0.0, min(centre - reach, share)), min(1.0, max(centre + reach, share))
