"""The methods by their names in Evidently: what each is for, its threshold, and the function that computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from drift.statistics import distance, frequency, location
from drift.statistics.column import NO_DATA, ColumnDrift
from drift.statistics.kolmogorov import Gap, find_gap

__all__ = ["MAX_VALUES_AS_LABELS", "METHODS", "ColumnKind", "Method", "default_method"]

#: Numbers, or texts without an order.
ColumnKind = Literal["numerical", "categorical"]

#: Up to so many reference rows Evidently tests (p-values), beyond it measures distances.
MAX_TESTED_ROWS: Final = 1000
#: A column of numbers with at most so many distinct values is compared like labels (Evidently's).
MAX_VALUES_AS_LABELS: Final = 5
#: Floor of a p-value in a severity, so that p = 0 gives a number that JSON and Prometheus can hold.
SMALLEST_P_VALUE: Final = 1e-12

_NUMBERS: Final = frozenset[ColumnKind]({"numerical"})
_LABELS: Final = frozenset[ColumnKind]({"categorical"})
_BOTH: Final = _NUMBERS | _LABELS


@dataclass(frozen=True, slots=True)
class Method:
    """One statistic: its names, the kinds of columns that it takes, and when it means drift.

    `compute` takes the reference and the current sample, and answers the statistic, the `Gap` whose p-value it is,
    or None when it is not defined for them. At the threshold itself a column drifts when `inclusive`.
    """

    name: str
    display_name: str
    kinds: frozenset[ColumnKind]
    threshold: float
    is_p_value: bool
    inclusive: bool
    compute: Callable[[Any, Any], float | Gap | None]
    #: Whether it needs the rows in their order.
    keeps_order: bool = False

    def judge(self, column: str, statistic: float | None, threshold: float | None) -> ColumnDrift:
        """Return what the statistic says of a column; `threshold` None is the method's own."""
        if statistic is None:
            return ColumnDrift(column, NO_DATA, None, None, False, None)
        limit = self.threshold if threshold is None else threshold
        beyond = statistic < limit if self.is_p_value else statistic > limit
        drifted = beyond or (self.inclusive and statistic == limit)
        severity = limit / max(statistic, SMALLEST_P_VALUE) if self.is_p_value else statistic / limit
        return ColumnDrift(column, self.display_name, statistic, limit, drifted, severity)


def _test(
    name: str,
    display_name: str,
    kinds: frozenset[ColumnKind],
    threshold: float,
    compute: Callable[[Any, Any], float | Gap | None],
    *,
    inclusive: bool = False,
    keeps_order: bool = False,
) -> Method:
    return Method(name, display_name, kinds, threshold, True, inclusive, compute, keeps_order)


def _distance(
    name: str,
    display_name: str,
    kinds: frozenset[ColumnKind],
    compute: Callable[[Any, Any], float],
    *,
    inclusive: bool = True,
) -> Method:
    return Method(name, display_name, kinds, 0.1, False, inclusive, compute)


#: Names, kinds, thresholds and comparisons of Evidently 0.7.23 (`legacy/calculations/stattests`).
METHODS: Final = {
    method.name: method
    for method in (
        _test("anderson", "Anderson-Darling", _NUMBERS, 0.1, location.anderson_darling),
        _test("chisquare", "chi-square p_value", _LABELS, 0.05, frequency.chi_square),
        _test(
            "cramer_von_mises", "Cramer-von Mises", _NUMBERS, 0.1, location.cramer_von_mises, inclusive=True
        ),
        _distance("ed", "Energy-distance", _NUMBERS, distance.energy, inclusive=False),
        _test("es", "Epps-Singleton", _NUMBERS, 0.05, location.epps_singleton),
        _test("fisher_exact", "Fisher's Exact test", _LABELS, 0.1, frequency.fisher_exact),
        _test("g_test", "g_test", _LABELS, 0.1, frequency.g_test),
        _distance("hellinger", "Hellinger distance", _BOTH, distance.hellinger),
        _distance("jensenshannon", "Jensen-Shannon distance", _BOTH, distance.jensen_shannon),
        _distance("kl_div", "Kullback-Leibler divergence", _BOTH, distance.kullback_leibler),
        _test("ks", "K-S p_value", _NUMBERS, 0.05, find_gap, inclusive=True),
        _test("mannw", "Mann-Whitney U-rank test", _NUMBERS, 0.05, location.mann_whitney),
        _test("empirical_mmd", "empirical_mmd", _NUMBERS, 0.1, location.mean_discrepancy, keeps_order=True),
        _distance("psi", "PSI", _BOTH, distance.population_stability),
        _test("t_test", "t_test", _NUMBERS, 0.05, location.t_test),
        _test("TVD", "Total-Variation-Distance", _LABELS, 0.1, frequency.total_variation, keeps_order=True),
        _distance("wasserstein", "Wasserstein distance (normed)", _NUMBERS, distance.wasserstein),
        _test("z", "Z-test p_value", _LABELS, 0.05, frequency.proportion_z),
    )
}


def default_method(kind: ColumnKind, reference_rows: int, distinct: int) -> Method:
    """Return Evidently's choice for a column with so many distinct values on both sides together.

    `reference_rows` counts those without a value too: missing values must not turn a distance into a p-value.
    """
    like_labels = kind == "categorical" or distinct <= MAX_VALUES_AS_LABELS
    if reference_rows > MAX_TESTED_ROWS:
        return METHODS["jensenshannon" if like_labels else "wasserstein"]
    if like_labels:
        return METHODS["chisquare" if distinct > 2 else "z"]
    return METHODS["ks"]
