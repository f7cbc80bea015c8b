"""What is said of one column, and of all of them: the words that the rest of the package uses."""

from dataclasses import dataclass
from typing import Final

__all__ = ["NO_DATA", "ColumnDrift", "Comparison", "Distribution"]

#: Method of a column that has no value in reference or window: there is nothing to compare.
NO_DATA: Final = "no data"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """Statistic, threshold and verdict of one column, with Evidently's methods and values.

    `severity` is the distance over its threshold, or the threshold over the p-value: above 1 means drift,
    whatever the method; at the threshold itself it is 1, drift or not. `psi` is the population stability index,
    whatever the method. `statistic`, `threshold`, `severity` and `psi` are None when `method` is `no data`.
    """

    name: str
    method: str
    statistic: float | None
    threshold: float | None
    drifted: bool
    severity: float | None
    psi: float | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How the values of one column are spread over bins that the reference chose, for the page.

    `bins` are the texts of the bins (a label, or a range as people write it); the shares add up to 1 unless the
    column has missing values, whose shares stand beside them.
    """

    name: str
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    missing_reference: float
    missing_current: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All columns: features in model order, the predictions, and the targets where both sides have them.

    `drift_share` is the share of features that drifted, 0 to 1; the dataset drifted when at least half did.
    """

    features: tuple[ColumnDrift, ...]
    prediction: ColumnDrift
    target: ColumnDrift | None
    dataset_drift: bool
    drift_share: float
