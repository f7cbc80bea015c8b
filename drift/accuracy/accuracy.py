"""An accuracy with its interval."""

from dataclasses import dataclass

__all__ = ["Accuracy"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right answers, 0 to 1, with a 95 % interval, and the number of rows that it is made of."""

    value: float
    low: float
    high: float
    rows: int
