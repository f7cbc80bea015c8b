"""The comparison of current rows with the prepared reference: Evidently's statistics without Evidently.

Every value is that of Evidently 0.7.23 (relative difference below 1e-9, tested over all methods), a hundred times
cheaper, because the reference is sorted once and nothing is drawn. Where Evidently raises, contradicts itself or
cannot see, these rules hold instead:

* a column without any value on one side, or on which its method is not defined, has no data, and the others go on
  (Evidently loses the report);
* infinities count as missing everywhere (Evidently removes them in some of its parts);
* one and the same value on both sides is no drift, p = 1 (Evidently: not a number);
* the default method follows from the rows of the reference, with or without value, so that missing values do not
  turn a distance into a p-value;
* small-scale columns are not divided by a fixed floor of 0.001 (`distance.normalised_by`);
* the G-test and Fisher's test take sides of different sizes (`frequency`), and the maximum mean discrepancy a
  sample of large ones (`location`);
* permutations are drawn with a fixed seed, and ties among them are ties (`frequency`, `location`);
* numbers beyond 1e100 stand at 1e100 (`sample`).
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from drift.rows import Rows
from drift.statistics.column import ColumnDrift, Comparison
from drift.statistics.distance import population_stability
from drift.statistics.kolmogorov import Gap, p_values_of
from drift.statistics.method import Method
from drift.statistics.prepared import Column, Prepared
from drift.statistics.sample import Sample, is_one_value

__all__ = ["DRIFT_SHARE", "compare"]

#: The dataset drifted when at least this share of its features did (Evidently's).
DRIFT_SHARE: Final = 0.5


class _Found(NamedTuple):
    """What was computed of one column, before it is judged."""

    column: Column
    method: Method
    statistic: float | Gap | None
    psi: float | None


def compare(prepared: Prepared, current: Rows) -> Comparison:
    """Return statistic, threshold and verdict of each column of `current`, at least one row."""
    drifts = _judge(
        [
            _find(column, column.sample(values), prepared.reference_rows)
            for column, values in prepared.columns(current)
        ]
    )
    features, prediction = tuple(drifts[: len(prepared.features)]), drifts[len(prepared.features)]
    share = _drift_share(features)
    return Comparison(
        features=features,
        prediction=prediction,
        target=drifts[-1] if len(drifts) > len(prepared.features) + 1 else None,
        dataset_drift=share is not None and share >= DRIFT_SHARE,
        drift_share=share or 0.0,
    )


def _find(column: Column, sample: Sample, reference_rows: int) -> _Found:
    method = column.method_for(sample, reference_rows)
    if not _has_data(column.reference, sample):
        return _Found(column, method, None, None)
    # Measured: 100 columns of 5,000 rows have their indexes in 3 ms, since both sides are sorted.
    psi = population_stability(column.reference, sample)
    return _Found(column, method, _statistic(method, column.reference, sample), psi)


def _statistic(method: Method, reference: Sample, current: Sample) -> float | Gap | None:
    if method.is_p_value and is_one_value(reference, current):
        return 1.0
    try:
        return method.compute(reference, current)
    except (
        np.linalg.LinAlgError
    ):  # the method takes a matrix apart that has no parts: not defined for these values
        return None


def _has_data(reference: Sample, current: Sample) -> bool:
    return len(reference) > 0 and len(current) > 0


def _judge(found: list[_Found]) -> list[ColumnDrift]:
    # The p-values of the Kolmogorov-Smirnov gaps cost about the same for one column as for all of them.
    gaps = [one.statistic for one in found if isinstance(one.statistic, Gap)]
    p_values = iter(p_values_of(gaps))
    drifts = []
    for column, method, value, psi in found:
        statistic = next(p_values) if isinstance(value, Gap) else value
        defined = statistic if statistic is not None and np.isfinite(statistic) else None
        drift = method.judge(column.name, defined, column.choice.threshold if column.choice else None)
        drifts.append(replace(drift, psi=psi) if defined is not None else drift)
    return drifts


def _drift_share(features: tuple[ColumnDrift, ...]) -> float | None:
    """Return the share of the features with data that drifted, None when none has data."""
    verdicts = [feature.drifted for feature in features if feature.statistic is not None]
    return sum(verdicts) / len(verdicts) if verdicts else None
