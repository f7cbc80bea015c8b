"""The rules where Evidently raises, contradicts itself or cannot see; and what a comparison says as a whole."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from drift.errors import UnfitMethodError
from drift.rows import Reference, Rows, Schema
from drift.statistics import NO_DATA, Methods, compare, prepare
from tests.drift.statistics.conftest import (
    Evidently,
    as_features,
    compare_column,
    compare_rows,
    reference_of,
)

LARGE = 2000


def normal(rows: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> list[float]:
    values: list[float] = np.random.default_rng(seed).normal(shift, scale, rows).tolist()
    return values


@pytest.mark.parametrize("rows", [60, LARGE])
def test_a_column_without_data_leaves_the_others(rows: int) -> None:
    """A feature that is missing everywhere, on either side, says so; the share counts the others alone."""
    nothing = [np.nan] * 50
    found = compare_rows(
        as_features([normal(rows, 0), normal(rows, 1), [np.inf] * rows, normal(rows, 2)]),
        as_features([normal(50, 3, 2.0), nothing, normal(50, 4), normal(50, 5, 2.0)]),
    )
    assert [column.method == NO_DATA for column in found.features] == [False, True, True, False]
    assert found.features[1].statistic is found.features[1].severity is found.features[1].threshold is None
    assert (found.drift_share, found.dataset_drift) == (1.0, True)


def test_no_feature_with_data() -> None:
    """With all features missing there is no dataset drift, and the predictions are compared alone."""
    found = compare_rows(as_features([normal(60, 0)]), as_features([[np.nan] * 9], ["b"] * 9))
    assert (found.drift_share, found.dataset_drift, found.prediction.drifted) == (0.0, False, True)


@pytest.mark.parametrize("rows", [300, LARGE])
def test_infinities_count_as_missing(rows: int) -> None:
    """They change nothing, on either side."""
    reference, current = normal(rows, 0), normal(100, 1)
    clean = compare_column(reference, current)
    assert compare_column([*reference, np.inf, -np.inf], [*current, np.inf, np.nan, -np.inf]) == clean


@pytest.mark.parametrize(
    "method", [None, "ks", "t_test", "anderson", "es", "wasserstein", "psi", "hellinger"]
)
@pytest.mark.parametrize("rows", [60, LARGE])
def test_one_value_on_both_sides_is_no_drift(method: str | None, rows: int) -> None:
    """The same constant has a p-value of 1 or a distance of 0."""
    found = compare_column([2.0] * rows, [2.0] * 30, method)
    assert not found.drifted
    assert found.statistic == (
        1.0 if found.method.endswith(("value", "test", "Darling", "Singleton")) else 0.0
    )


@pytest.mark.parametrize("method", ["chisquare", "z", "g_test", "fisher_exact", "TVD"])
def test_one_label_on_both_sides_is_no_drift(method: str) -> None:
    """Evidently gives not a number."""
    found = compare_column(["a"] * 60, ["a"] * 30, method)
    assert (found.statistic, found.drifted) == (1.0, False)


@pytest.mark.parametrize("rows", [60, LARGE])
def test_another_constant_is_drift(rows: int) -> None:
    """Constants that differ drift, with a finite severity."""
    found = compare_column([2.0] * rows, [3.0] * 30)
    assert found.drifted
    assert np.isfinite(found.severity or np.inf)


def test_missing_values_do_not_change_the_method(evidently: Evidently) -> None:
    """1500 rows of which 900 have a value are measured by a distance; Evidently turns to a p-value."""
    reference, current = [*normal(900, 0), *[np.nan] * 600], normal(100, 1)
    assert evidently(reference, current).method == "K-S p_value"
    found = compare_column(reference, current)
    assert found.method == "Wasserstein distance (normed)"
    assert found.statistic == pytest.approx(evidently(reference, current, "wasserstein").statistic)


def test_a_small_scale_is_no_excuse(evidently: Evidently) -> None:
    """Five deviations are drift even where the deviation is 0.00001; Evidently divides by 0.001."""
    reference, current = normal(LARGE, 0, scale=1e-5), normal(300, 1, 5e-5, scale=1e-5)
    assert not evidently(reference, current).drifted
    found = compare_column(reference, current)
    assert found.drifted
    assert found.statistic == pytest.approx(5, rel=0.1)
    # Where values are not small the floor is Evidently's.
    reference, current = normal(LARGE, 0, 5, 1e-5), normal(300, 1, 5, scale=1e-5)
    assert compare_column(reference, current).statistic == pytest.approx(
        evidently(reference, current).statistic
    )


def test_columns_far_from_zero_lose_no_digits(evidently: Evidently) -> None:
    """Times in nanoseconds: the sums of the Wasserstein distance are taken around the mean."""
    reference, current = normal(LARGE, 0, 1e12, 1e3), normal(300, 1, 1e12 + 50, 1e3)
    expected = evidently(reference, current, "wasserstein").statistic
    assert compare_column(reference, current, "wasserstein").statistic == pytest.approx(expected, rel=1e-9)


def test_an_outlier_hides_a_shift_as_it_does_for_evidently(evidently: Evidently) -> None:
    """The value that is named after Evidently stays Evidently's: it is the alarm that sees the shift."""
    reference, current = normal(LARGE, 0), [*normal(300, 1, 3.0), 1e6]
    found = compare_column(reference, current, "psi")
    assert found.statistic == pytest.approx(evidently(reference, current, "psi").statistic, rel=1e-9)
    assert not found.drifted


def test_a_new_label_is_drift_with_a_finite_severity() -> None:
    """p = 0 gives a number that Prometheus can hold."""
    found = compare_column(["a", "b", "c"] * 50, ["d"] * 60)
    assert (found.statistic, found.drifted) == (0.0, True)
    assert np.isfinite(found.severity or np.inf)


def test_tests_that_evidently_refuses_for_sides_of_different_sizes() -> None:
    """The G-test scales what it expects, like chi-square; Fisher's test needs no equal sizes."""
    from scipy.stats import fisher_exact, power_divergence

    reference, current = ["a"] * 70 + ["b"] * 30, ["a"] * 24 + ["b"] * 16
    expected = power_divergence([24, 16], [28, 12], lambda_="log-likelihood").pvalue
    assert compare_column(reference, current, "g_test").statistic == pytest.approx(expected, rel=1e-9)
    expected = fisher_exact([[70, 30], [24, 16]]).pvalue
    assert compare_column(reference, current, "fisher_exact").statistic == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("method", "reference", "current"),
    [
        ("es", [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0]),
        ("es", [*[0.0] * 95, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 50),
        ("cramer_von_mises", [1.0, 2.0, 3.0], [1.0]),
        ("anderson", [1.0, 2.0], [3.0]),
        ("t_test", [1.0], [2.0]),
        ("empirical_mmd", [1.0, 2.0], [3.0]),
        ("fisher_exact", ["a", "b", "c"], ["a", "b"]),
    ],
)
def test_a_test_that_is_not_defined_has_no_data(
    method: str, reference: list[float] | list[str], current: list[float] | list[str]
) -> None:
    """Too few rows, no spread or too many values for a test: the column says so instead of raising."""
    found = compare_column(reference, current, method)
    assert (found.method, found.drifted, found.severity) == (NO_DATA, False, None)


def test_a_method_that_fails_on_a_column_has_no_data() -> None:
    """Epps and Singleton's takes a matrix apart, which subnormal numbers do not make; the others go on."""
    random = np.random.default_rng(0)

    def rows(count: int) -> Rows:
        features = np.c_[random.normal(size=count), random.normal(size=count) * 1e-310]
        return Rows(features, np.array(["a", "b"], object)[random.integers(0, 2, count)])

    reference = Reference(Schema(("feature_0", "feature_1"), "label"), rows(300), 300)
    first, second = compare(prepare(reference, Methods.parse("feature_1=es")), rows(200)).features
    assert first.statistic is not None
    assert second.method == NO_DATA


@pytest.mark.parametrize("method", [None, "psi", "hellinger", "t_test", "ed", "ks", "empirical_mmd"])
def test_the_largest_numbers_there_are(method: str | None) -> None:
    """Nothing overflows into not a number; a verdict is reached, without a warning."""
    reference = [*normal(LARGE, 0), 1.7e308, -1.7e308]
    assert compare_column(reference, [*normal(60, 1), -1.7e308, 1.7e308], method).statistic is not None
    assert (
        compare_column([5e-324 * place for place in range(30)], [0.0, 1e-320], method).statistic is not None
    )


def test_the_mean_discrepancy_of_many_rows_is_that_of_a_sample() -> None:
    """100,000 reference rows take a moment, the same each time, and still find a shift."""
    reference = normal(100_000, 0)
    same = compare_column(reference, normal(3000, 1), "empirical_mmd")
    assert same == compare_column(reference, normal(3000, 1), "empirical_mmd")
    assert compare_column(reference, normal(3000, 1, 0.5), "empirical_mmd").drifted


@pytest.mark.parametrize("rows", [150, LARGE])
def test_severity_above_one_means_drift_whatever_the_method(rows: int) -> None:
    """A p-value below its threshold and a distance above it both give a severity above 1, and vice versa."""
    for shift in (0.0, 1.0):
        found = compare_column(normal(rows, 0), normal(400, 1, shift))
        assert found.severity is not None
        assert found.drifted is (found.severity > 1) is bool(shift)


def test_texts_are_compared_by_their_shares(evidently: Evidently) -> None:
    """A feature of texts is categorical; its codes are no numbers, and new texts are one label of their own."""
    texts = ("north", "south", "west")
    schema = Schema(("feature_0", "feature_1"), "label", (texts, ()))
    random = np.random.default_rng(2)

    def rows(shares: list[float], count: int) -> Rows:
        codes = random.choice([0, 1, 2, 3, np.nan], count, p=shares)
        features = np.stack([codes, random.normal(size=count)], axis=1)
        return Rows(features, np.array(["a", "b"] * (count // 2), object))

    reference, current = rows([0.3, 0.3, 0.3, 0, 0.1], 400), rows([0.1, 0.2, 0.1, 0.5, 0.1], 100)
    found = compare(prepare(Reference(schema, reference, 400)), current)
    sides = [
        [(*texts, "new")[int(code)] for code in side.features[:, 0] if np.isfinite(code)]
        for side in (reference, current)
    ]
    assert found.features[0].statistic == pytest.approx(evidently(*sides).statistic, rel=1e-9, abs=1e-15)
    assert [column.drifted for column in found.features] == [True, False]


def test_regression_and_targets() -> None:
    """Predictions that are numbers have the methods of numbers, and so do targets where both sides have them."""
    reference = as_features([normal(100, 0)], normal(100, 1))
    current = as_features([normal(60, 2)], normal(60, 3, 2.0))
    labelled = [
        replace(side, targets=np.array([*normal(len(side) - 1, 4), np.nan])) for side in (reference, current)
    ]
    found = compare_rows(labelled[0], labelled[1])
    assert found.prediction.method == "K-S p_value"
    assert found.prediction.drifted
    assert found.prediction.psi is not None
    assert found.prediction.psi > 0.1
    assert found.target is not None
    assert (found.target.name, found.target.drifted) == ("target", False)
    assert compare_rows(labelled[0], current).target is None
    assert compare_rows(reference, labelled[1]).target is None


def test_every_column_has_evidentlys_stability_index(evidently: Evidently) -> None:
    """Whatever its method, and predictions and targets too; without data there is none."""
    reference = as_features([normal(LARGE, 0), [1.0, 2.0] * (LARGE // 2), [np.nan] * LARGE], normal(LARGE, 1))
    current = as_features([normal(60, 2, 0.3), [1.0] * 50 + [2.0] * 10, normal(60, 3)], normal(60, 4, 0.5))
    labelled = [replace(side, targets=side.predictions[::-1].copy()) for side in (reference, current)]
    found = compare_rows(labelled[0], labelled[1])
    assert [column.method for column in found.features[:2]] == [
        "Wasserstein distance (normed)",
        "Jensen-Shannon distance",
    ]
    for place in (0, 1):
        sides = [side.features[:, place].tolist() for side in (reference, current)]
        expected = evidently(*sides, "psi").statistic
        assert found.features[place].psi == pytest.approx(expected, rel=1e-9)
    expected = evidently(reference.predictions.tolist(), current.predictions.tolist(), "psi").statistic
    assert found.target is not None
    assert found.prediction.psi == found.target.psi == pytest.approx(expected, rel=1e-9)
    assert found.features[2].psi is None


def test_labels_that_are_not_known_are_no_target() -> None:
    """None in place of a label that has not arrived counts as missing."""
    reference = replace(as_features([normal(60, 0)]), targets=np.array(["a", "b"] * 30, object))
    current = replace(as_features([normal(10, 0)]), targets=np.array([None] * 8 + ["a", "b"], object))
    target = compare_rows(reference, current).target
    assert target is not None
    assert (target.method, target.statistic) == ("Z-test p_value", 1.0)
    unknown = compare_rows(reference, replace(current, targets=np.array([None] * 10, object))).target
    assert unknown is not None
    assert unknown.method == NO_DATA


def test_a_chosen_threshold_decides() -> None:
    """The value stays, the verdict follows the threshold of the settings."""
    reference, current = normal(LARGE, 0), normal(500, 1, 0.3)
    low, high = (compare_column(reference, current, f"psi:{limit}") for limit in (0.01, 3))
    assert (low.statistic, low.drifted, low.threshold) == (high.statistic, True, 0.01)
    assert (high.drifted, high.threshold) == (False, 3.0)


def test_methods_that_do_not_fit_the_reference() -> None:
    """A method for other columns than it is given, or a column that is not there, is a sentence."""
    reference = reference_of(as_features([normal(10, 0)]))
    with pytest.raises(
        UnfitMethodError, match="prediction: ks is not for a categorical column; choose among TVD"
    ):
        prepare(reference, Methods.parse("prediction=ks"))
    with pytest.raises(
        UnfitMethodError, match="feature_7: psi is chosen for it, and there is no such column"
    ):
        prepare(reference, Methods.parse("feature_7=psi"))


def test_the_reference_is_left_as_it_is() -> None:
    """Neither preparing nor comparing changes the rows of either side."""
    reference, current = (
        as_features([normal(50, 0), [np.nan] * 50]),
        as_features([normal(20, 1), [np.inf] * 20]),
    )
    kept = reference.features.copy(), current.features.copy()
    compare_rows(reference, current)
    np.testing.assert_array_equal(reference.features, kept[0])
    np.testing.assert_array_equal(current.features, kept[1])


def test_the_defaults_do_without_heavy_imports() -> None:
    """Neither SciPy nor pandas nor Evidently is imported by a comparison with default methods."""
    script = (
        "import sys, numpy as np\n"
        "from drift.statistics import compare, prepare\n"
        "from drift.rows import Reference, Rows, Schema\n"
        "for rows in (200, 2000):\n"
        "    random = np.random.default_rng(0)\n"
        "    sides = [Rows(random.normal(size=(n, 2)).round(1), np.array(['a', 'b', 'c', 'a'] * (n // 4), object))"
        " for n in (rows, 12000)]\n"
        "    compare(prepare(Reference(Schema(('feature_0', 'feature_1'), 'label'), sides[0], rows)), sides[1])\n"
        "heavy = {'scipy', 'pandas', 'evidently', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
