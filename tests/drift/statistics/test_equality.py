"""Every statistic is Evidently's: over methods, sizes, ties, constants, missing values and new labels."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drift.statistics import METHODS
from tests.drift.statistics.conftest import Column, Evidently, compare_column

RELATIVE = 1e-9
#: Where Evidently's own number is what is left after cancellation: the square root of 1 minus nearly 1.
ABSOLUTE = {"Hellinger distance": 5e-8, "Jensen-Shannon distance": 5e-8}
NUMERICAL = sorted(name for name, method in METHODS.items() if "numerical" in method.kinds)
CATEGORICAL = sorted(
    name for name, method in METHODS.items() if "categorical" in method.kinds and name != "TVD"
)
Drawn = NDArray[np.float64]
NO_DISCREPANCY = {"far from zero", "an outlier", "two values", "few values"}


def check(evidently: Evidently, reference: Column, current: Column, method: str | None = None) -> None:
    theirs, ours = evidently(reference, current, method), compare_column(reference, current, method)
    assert (ours.method, ours.threshold) == (theirs.method, theirs.threshold)
    if ours.statistic == 1.0 and theirs.statistic > 0.999:
        return  # SciPy's exact KS probability came out above 1 by rounding, and its asymptotic one is below
    absolute = ABSOLUTE.get(ours.method, 1e-12)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=RELATIVE, abs=absolute)
    if abs(theirs.statistic - theirs.threshold) > 2 * absolute:
        assert ours.drifted is theirs.drifted


def numbers(case: str, rows: int, seed: int) -> list[float]:
    """Return a column of numbers; those of different seeds differ a little in their law."""
    random = np.random.default_rng(seed)
    shift = 0.1 * (seed % 2)
    values: list[float] = DRAWN[case](random, shift, rows).tolist()
    return values


def _few(random: np.random.Generator, shift: float, rows: int) -> Drawn:
    return random.choice([0.0, 1.0, 2.5, 4.0], rows, p=[0.4 - shift, 0.3 + shift, 0.2, 0.1])


DRAWN: dict[str, Callable[[np.random.Generator, float, int], Drawn]] = {
    "normal": lambda random, shift, rows: random.normal(shift, 1, rows),
    "heavy tails": lambda random, shift, rows: random.lognormal(shift, 2, rows),
    "far from zero": lambda random, shift, rows: random.normal(1e4 + shift, 1, rows),
    "ties": lambda random, shift, rows: random.normal(shift, 1, rows).round(1),
    "counts": lambda random, shift, rows: random.poisson(4 + shift, rows).astype(float),
    "few values": _few,
    "two values": lambda random, shift, rows: (random.random(rows) < 0.5 + shift).astype(float),
    "missing": lambda random, shift, rows: np.where(
        random.random(rows) < 0.1, np.nan, random.normal(shift, 1, rows)
    ),
    "infinite": lambda random, shift, rows: np.where(
        random.random(rows) < 0.05, -np.inf, random.normal(shift, 1, rows)
    ),
    "an outlier": lambda random, shift, rows: np.append(random.normal(shift, 1, rows - 1), 1e6 * (1 + shift)),
}
CASES = tuple(DRAWN)


def labels(count: int, rows: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    weights = np.arange(1, count + 1) + (seed % 2) * random.random(count)
    return [f"class {place}" for place in random.choice(count, rows, p=weights / weights.sum())]


@pytest.mark.parametrize(
    ("reference_rows", "current_rows"), [(60, 45), (1000, 300), (1001, 2500), (5000, 77)]
)
@pytest.mark.parametrize("case", CASES)
def test_the_default_of_numbers(
    evidently: Evidently, case: str, reference_rows: int, current_rows: int
) -> None:
    """The choice of the method, its value, threshold and verdict, below and above 1000 reference rows."""
    # The case of missing values has rows enough on both sides of the limit after they are left out.
    more = 200 if case in {"missing", "infinite"} and reference_rows == 1001 else 0
    check(evidently, numbers(case, reference_rows + more, 0), numbers(case, current_rows, 1))


@pytest.mark.parametrize(("reference_rows", "current_rows"), [(60, 45), (1000, 300), (1001, 2500)])
@pytest.mark.parametrize("count", [2, 3, 10, 60])
def test_the_default_of_labels(
    evidently: Evidently, count: int, reference_rows: int, current_rows: int
) -> None:
    """Labels, among them those that one side lacks."""
    check(evidently, labels(count, reference_rows, 0), labels(count, current_rows, 1))
    check(evidently, [*labels(count, reference_rows, 0), "old"], [*labels(count, current_rows, 1), "new"])


def _is_compared(method: str, case: str, reference_rows: int) -> bool:
    # Of more rows a sample is taken; Evidently's squares lose such distances, and rounding breaks its ties.
    if method == "empirical_mmd":
        return reference_rows <= 1000 and case not in NO_DISCREPANCY
    # Its covariance has no full rank there: SciPy's value depends on the order of the rows.
    return method != "es" or case not in {"few values", "two values"}


@pytest.mark.parametrize(
    ("method", "case", "reference_rows", "current_rows"),
    [
        (method, case, *rows)
        for method in NUMERICAL
        for case in CASES
        for rows in ((30, 18), (300, 300), (1500, 400))
        if _is_compared(method, case, rows[0])
    ],
)
def test_every_method_of_numbers(
    evidently: Evidently, method: str, case: str, reference_rows: int, current_rows: int
) -> None:
    """A chosen method gives Evidently's value on every kind of column."""
    check(evidently, numbers(case, reference_rows, 2), numbers(case, current_rows, 3), method)


@pytest.mark.parametrize(
    ("method", "count", "reference_rows", "current_rows"),
    [
        (method, count, *rows)
        for method in CATEGORICAL
        for count in (2, 3, 12)
        for rows in ((40, 40), (400, 70), (1500, 400))
        # Evidently raises for sides of different sizes, and its Fisher's test for more than two values.
        if not (method in {"fisher_exact", "g_test"} and rows[0] != rows[1])
        if not (method == "fisher_exact" and count > 2)
    ],
)
def test_every_method_of_labels(
    evidently: Evidently, method: str, count: int, reference_rows: int, current_rows: int
) -> None:
    """A chosen method gives Evidently's value on labels, wherever Evidently gives one."""
    check(evidently, labels(count, reference_rows, 4), labels(count, current_rows, 5), method)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "reference_rows", "current_rows"), [(2, 40, 40), (3, 50, 50), (12, 300, 70)]
)
def test_the_total_variation_distance(
    evidently: Evidently, count: int, reference_rows: int, current_rows: int
) -> None:
    """Its permutations are Evidently's; equal distances count as equal, whatever the order of their sums."""
    from evidently.legacy.calculations.stattests import tvd_stattest, utils

    def rounded(reference: "pd.Series[str]", current: "pd.Series[str]") -> float:
        return float(tvd_stattest._total_variation_distance(reference, current).round(9))

    reference, current = labels(count, reference_rows, 4), labels(count, current_rows, 5)
    sides = pd.Series(reference), pd.Series(current)
    theirs = utils.permutation_test(*sides, rounded(*sides), rounded, iterations=1000)
    assert compare_column(reference, current, "TVD").statistic == float(theirs)
    assert evidently(reference, current, "TVD").threshold == METHODS["TVD"].threshold


@pytest.mark.parametrize("reference_rows", [90, 900])
@pytest.mark.parametrize("case", ["normal", "ties", "heavy tails"])
def test_more_rows_than_the_exact_test_takes(evidently: Evidently, case: str, reference_rows: int) -> None:
    """Beyond 10,000 current rows the p-value is the asymptotic one."""
    for seed in (1, 2):
        check(evidently, numbers(case, reference_rows, 0), numbers(case, 12_000, seed))


@pytest.mark.parametrize("method", [None, "psi", "jensenshannon", "wasserstein", "ks"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_windows(evidently: Evidently, method: str | None, rows: int) -> None:
    """One row is enough for a value."""
    check(evidently, numbers("normal", 50, 0), numbers("normal", rows, 1), method)
    check(evidently, numbers("normal", 2000, 0), numbers("normal", rows, 1), method)


few_numbers = st.lists(
    st.one_of(
        st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: round(value, 3)),
        st.integers(-3, 3).map(float),
    ),
    min_size=2,
    max_size=60,
)


@pytest.mark.parametrize("method", ["wasserstein", "ks", "psi", "jensenshannon", "kl_div", "hellinger", "ed"])
@given(reference=few_numbers, current=few_numbers)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_numbers(evidently: Evidently, method: str, reference: list[float], current: list[float]) -> None:
    """Whatever the numbers, the value is Evidently's, unless both sides are one value."""
    if len({*reference, *current}) == 1:
        return
    check(evidently, reference, current, method)
