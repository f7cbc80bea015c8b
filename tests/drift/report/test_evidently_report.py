"""Evidently through its one adapter: its values, and the data that would break it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ks_2samp

from drift.report.evidently_report import NO_DATA, DriftReport, run_report
from drift.rows import Reference, Rows, Schema

IrisRows = Callable[..., Rows]


@pytest.fixture
def current(iris_rows: IrisRows) -> Rows:
    """60 rows without drift, to be damaged."""
    return iris_rows(60, seed=1)


def summary(report: DriftReport) -> list[tuple[str, str, bool]]:
    return [(column.name, column.method, column.drifted) for column in report.features]


def test_the_values_are_those_of_the_method(reference: Reference, current: Rows) -> None:
    """With at most 1000 reference rows a feature's statistic is the p-value of SciPy's KS test."""
    report = run_report(reference, current)
    for column, feature in enumerate(report.features):
        expected = ks_2samp(reference.rows.features[:, column], current.features[:, column]).pvalue
        assert feature.method == "K-S p_value"
        assert feature.statistic == pytest.approx(expected)
        assert feature.severity == pytest.approx(0.05 / expected)
    assert (report.dataset_drift, report.drift_share) == (False, 0.0)
    assert report.prediction.method == "chi-square p_value"
    assert 0 <= report.prediction.psi < 0.1
    assert report.html.lstrip().startswith(b"<!DOCTYPE html>")


def test_severity_means_drift_above_one_for_both_directions(
    reference: Reference, iris_rows: IrisRows
) -> None:
    """A p-value below its threshold and a distance above it both give a severity above 1, and vice versa."""
    large = Reference(
        reference.schema,
        Rows(np.tile(reference.rows.features, (8, 1)), np.tile(reference.rows.predictions, 8)),
        1200,
    )
    for each, word in ((reference, "p_value"), (large, "distance")):
        for shift in (0.0, 1.0):
            for column in run_report(each, iris_rows(400, seed=3, shift=shift)).features:
                assert word in column.method
                assert column.severity is not None
                assert column.drifted is (column.severity > 1) is bool(shift)


def test_a_column_without_data_leaves_the_others(reference: Reference, current: Rows) -> None:
    """A feature that is missing in every row has no statistic; Evidently alone would lose the report."""
    current.features[:, 1] = np.nan
    report = run_report(reference, current)
    assert [column.method == NO_DATA for column in report.features] == [False, True, False, False]
    assert report.features[1].statistic is report.features[1].severity is None
    assert not report.dataset_drift


def test_no_feature_with_data_still_reports_the_prediction(reference: Reference, current: Rows) -> None:
    """With all features missing the predictions are compared alone."""
    current.features[:] = np.nan
    report = run_report(reference, current)
    assert {column.method for column in report.features} == {NO_DATA}
    assert (report.drift_share, report.prediction.drifted) == (0.0, False)


def test_infinities_count_as_missing(reference: Reference, current: Rows) -> None:
    """A few infinities do not contradict: the other rows decide."""
    current.features[:5, 0] = np.inf
    current.features[5:9, 0] = -np.inf
    current.features[9:12, 2] = np.nan
    report = run_report(reference, current)
    assert not any(column.drifted for column in report.features)


def test_constant_columns_and_a_single_label_do_not_drift(reference: Reference, current: Rows) -> None:
    """The same constant and the same only class on both sides are no drift, with finite numbers."""
    constant = Rows(reference.rows.features.copy(), np.full(150, "a", dtype=object))
    constant.features[:, 3] = 2.0
    current.features[:, 3] = 2.0
    report = run_report(
        Reference(reference.schema, constant, 150), Rows(current.features, np.full(60, "a", dtype=object))
    )
    assert not report.features[3].drifted
    assert not report.prediction.drifted
    assert all(np.isfinite(column.severity or 0.0) for column in (*report.features, report.prediction))


@pytest.mark.parametrize("rows", [2, 3])
def test_tiny_windows_do_not_break_it(reference: Reference, iris_rows: IrisRows, rows: int) -> None:
    """The smallest windows that the settings allow give a report."""
    assert len(run_report(reference, iris_rows(rows, seed=5)).features) == 4


def test_a_new_label_is_drift(reference: Reference, current: Rows) -> None:
    """p = 0 gives a finite severity."""
    report = run_report(reference, Rows(current.features, np.full(60, "orchid", dtype=object)))
    assert report.prediction.drifted
    assert report.prediction.psi > 0.1
    assert np.isfinite(report.prediction.severity or np.inf)


def test_numbers_are_compared_as_numbers(reference: Reference, current: Rows) -> None:
    """Regression predictions get the numeric methods."""
    schema = Schema(reference.schema.feature_names, "number")
    regression = Reference(schema, Rows(reference.rows.features, reference.rows.features[:, 0] * 2), 150)
    same = run_report(regression, Rows(current.features, current.features[:, 0] * 2))
    moved = run_report(regression, Rows(current.features, current.features[:, 0] * 2 + 3))
    assert same.prediction.method == moved.prediction.method == "K-S p_value"
    assert (same.prediction.drifted, moved.prediction.drifted) == (False, True)


def test_a_label_cannot_end_a_script_of_the_page(reference: Reference, current: Rows) -> None:
    """Labels come from whoever trained the model; in the page they are text, and in their own words."""
    hostile = "</script><script>alert(1)</script><!--"
    labels = np.where(np.arange(len(current)) % 2, hostile, "setosa").astype(object)
    html = run_report(reference, Rows(current.features, labels)).html.decode()
    assert "alert(1)" in html
    assert hostile not in html
    assert "<script>alert(1)" not in html
    assert r"\u003c/script>\u003cscript>alert(1)\u003c/script>\u003c!--" in html
    assert "\ufdd0" not in html
    assert r"\ufdd0" not in html


def test_texts_are_compared_by_their_shares() -> None:
    """A feature of texts is categorical: its order says nothing, new texts drift, and no text leaves its place."""
    schema = Schema(("feature_0", "feature_1"), "label", (("</script><script>alert(1)", "south", "west"), ()))
    random = np.random.default_rng(0)

    def rows(shares: list[float], count: int) -> Rows:
        codes = random.choice([0, 1, 2, 3, np.nan], count, p=shares)
        features = np.stack([codes, random.normal(size=count)], axis=1)
        return Rows(features, np.array(["a", "b"] * (count // 2), object))

    reference = Reference(schema, rows([0.3, 0.3, 0.3, 0, 0.1], 400), 400)
    same = run_report(reference, rows([0.3, 0.3, 0.3, 0, 0.1], 100))
    assert summary(same)[0] == ("feature_0", "chi-square p_value", False)
    other = run_report(reference, rows([0.1, 0.2, 0.1, 0.5, 0.1], 100))
    assert [drifted for _, _, drifted in summary(other)] == [True, False]
    assert b"(not in the reference)" in other.html
    assert b"<script>alert(1)" not in other.html
