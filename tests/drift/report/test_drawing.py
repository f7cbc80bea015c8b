"""What Evidently draws and says, in this process: the same values as ours, and labels that cannot harm the page."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from drift.report.cross_check import cross_check
from drift.report.drawing import Drawn, draw
from drift.report.handover import CrossCheck, Request
from drift.report.plan import MAX_DRAWN_FEATURES, Plan
from drift.rows import Reference, Rows, Schema
from drift.statistics import Methods, compare, prepare

IrisRows = Callable[..., Rows]


def report(reference: Reference, current: Rows, methods: str = "") -> tuple[Drawn, CrossCheck, Plan]:
    """Do what the child does."""
    request = Request(reference, current, Methods.parse(methods))
    prepared = prepare(reference, request.methods)
    comparison = compare(prepared, current)
    plan = Plan(request, prepared, comparison)
    drawn = draw(plan)
    return drawn, cross_check(plan, prepared, comparison, drawn), plan


def enlarged(reference: Reference, times: int) -> Reference:
    rows = Rows(np.tile(reference.rows.features, (times, 1)), np.tile(reference.rows.predictions, times))
    return Reference(reference.schema, rows, len(rows))


@pytest.mark.parametrize("times", [1, 8])
def test_evidently_agrees_with_us(reference: Reference, iris_rows: IrisRows, times: int) -> None:
    """By its default methods, below and above 1000 reference rows, for features, predictions and targets."""
    with_targets = [
        replace(rows, targets=rows.predictions[::-1].copy())
        for rows in (enlarged(reference, times).rows, iris_rows(80, seed=1, shift=0.2))
    ]
    large = Reference(reference.schema, with_targets[0], len(with_targets[0]))
    drawn, check, plan = report(large, with_targets[1])
    assert set(drawn.values) == {*reference.schema.feature_names, "prediction", "target"}
    assert (check.columns, plan.left_out) == (7, 0)
    assert check.largest_difference < 1e-9
    assert drawn.html.lstrip().startswith(b"<!DOCTYPE html>")


def test_chosen_methods_are_drawn_and_compared(reference: Reference, iris_rows: IrisRows) -> None:
    """Those that Evidently cannot draw for sides of different sizes are left to its default, and not compared."""
    methods = "feature_0=psi:0.4,feature_1=anderson,prediction=g_test,feature_2=empirical_mmd"
    drawn, check, _ = report(reference, iris_rows(80, seed=1), methods)
    assert (check.columns, len(drawn.values)) == (4, 5)
    assert check.largest_difference < 1e-9


def test_a_difference_is_found(reference: Reference, iris_rows: IrisRows) -> None:
    """The column that is furthest apart is named."""
    request = Request(reference, iris_rows(80, seed=1), Methods())
    prepared = prepare(reference)
    comparison = compare(prepared, request.current)
    plan = Plan(request, prepared, comparison)
    values = {drift.name: drift.statistic or 0.0 for drift in comparison.features}
    values["feature_2"] *= 1.01
    check = cross_check(plan, prepared, comparison, Drawn(b"", values, None))
    assert (check.column, check.columns) == ("feature_2", 4)
    assert check.largest_difference == pytest.approx(0.01, rel=0.1)


def test_missing_values_do_not_part_us(reference: Reference, iris_rows: IrisRows) -> None:
    """Columns without data are left out, and one that has few values in many rows gets our method."""
    large, current = enlarged(reference, 8), iris_rows(60, seed=2)
    large.rows.features[200:, 0] = np.nan
    large.rows.features[5:9, 3] = np.inf
    current.features[:, 1] = np.nan
    drawn, check, _ = report(large, current)
    assert set(drawn.values) == {"feature_0", "feature_2", "feature_3", "prediction"}
    assert check.columns == 5
    assert check.largest_difference < 1e-9


def test_nothing_but_predictions(reference: Reference, iris_rows: IrisRows) -> None:
    """With all features missing the predictions are drawn alone."""
    current = iris_rows(60, seed=2)
    current.features[:] = np.nan
    drawn, check, _ = report(reference, current)
    assert set(drawn.values) == {"prediction"}
    assert check.columns == 2


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_windows(reference: Reference, iris_rows: IrisRows, rows: int) -> None:
    """The smallest windows give a page."""
    assert report(reference, iris_rows(rows, seed=5))[1].largest_difference < 1e-9


def test_constants_and_a_single_label(reference: Reference, iris_rows: IrisRows) -> None:
    """Evidently gives no number where ours is 1; nothing is compared there."""
    constant = Rows(reference.rows.features.copy(), np.full(150, "a", dtype=object))
    constant.features[:, 3] = 2.0
    current = iris_rows(60, seed=1)
    current.features[:, 3] = 2.0
    alone = Rows(current.features, np.full(60, "a", dtype=object))
    assert report(Reference(reference.schema, constant, 150), alone)[1].largest_difference < 1e-9


def test_numbers_are_drawn_as_numbers(reference: Reference, iris_rows: IrisRows) -> None:
    """Regression predictions get the numeric methods."""
    schema = Schema(reference.schema.feature_names, "number")
    current = iris_rows(60, seed=1)
    regression = Reference(schema, Rows(reference.rows.features, reference.rows.features[:, 0] * 2), 150)
    drawn, check, _ = report(regression, Rows(current.features, current.features[:, 0] * 2 + 3))
    assert drawn.values["prediction"] < 0.05
    assert check.largest_difference < 1e-9


def test_the_most_severe_features_are_drawn() -> None:
    """Of more features than a page holds, those that moved; the rest is counted."""
    count = MAX_DRAWN_FEATURES + 3
    random = np.random.default_rng(0)
    sides = [random.normal(size=(rows, count)) for rows in (60, 30)]
    sides[1][:, -1] += 3
    labels = [np.array(["a", "b"] * (len(side) // 2), dtype=object) for side in sides]
    schema = Schema(tuple(f"feature_{place}" for place in range(count)), "label")
    reference, current = (Rows(*side) for side in zip(sides, labels, strict=True))
    request = Request(Reference(schema, reference, 60), current, Methods())
    prepared = prepare(request.reference)
    plan = Plan(request, prepared, compare(prepared, current))
    names = [column.name for column in plan.features]
    assert (len(names), plan.left_out) == (MAX_DRAWN_FEATURES, 3)
    assert names[-1] == f"feature_{count - 1}"
    assert names == sorted(names, key=lambda name: int(name.removeprefix("feature_")))


def test_a_label_cannot_end_a_script_of_the_page(reference: Reference, iris_rows: IrisRows) -> None:
    """Labels come from whoever trained the model; in the page they are text, and in their own words."""
    hostile = "</script><script>alert(1)</script><!--"
    current = iris_rows(60, seed=1)
    labels = np.where(np.arange(len(current)) % 2, hostile, "setosa").astype(object)
    html = report(reference, Rows(current.features, labels, targets=labels))[0].html.decode()
    assert "alert(1)" in html
    assert hostile not in html
    assert "<script>alert(1)" not in html
    assert r"\u003c/script>\u003cscript>alert(1)\u003c/script>\u003c!--" in html
    assert "\ufdd0" not in html
    assert r"\ufdd0" not in html


def text_rows(shares: Sequence[float], count: int, seed: int) -> Rows:
    """Return rows with a feature of three texts, of new ones and missing ones, by their shares."""
    random = np.random.default_rng(seed)
    codes = random.choice([0, 1, 2, 3, np.nan], count, p=shares)
    features = np.stack([codes, random.normal(size=count)], axis=1)
    return Rows(features, np.array(["a", "b"] * (count // 2), object))


def test_texts_are_drawn_as_texts() -> None:
    """A feature of texts is categorical, new texts are one of their own, and no text leaves its place."""
    texts = ("</script><script>alert(1)", "south", "west")
    schema = Schema(("feature_0", "feature_1"), "label", (texts, ()))
    reference = Reference(schema, text_rows([0.3, 0.3, 0.3, 0, 0.1], 400, 0), 400)
    drawn, check, _ = report(reference, text_rows([0.1, 0.2, 0.1, 0.5, 0.1], 100, 1))
    assert check.largest_difference < 1e-9
    assert drawn.values["feature_0"] < 0.05
    assert b"(not in the reference)" in drawn.html
    assert b"<script>alert(1)" not in drawn.html


def test_a_label_in_no_encoding_is_drawn(reference: Reference, iris_rows: IrisRows) -> None:
    """Half a surrogate pair, which JSON can carry, does not end the report."""
    current = iris_rows(60, seed=1)
    labels = np.array(["\ud800", "setosa"] * 30, dtype=object)
    assert report(reference, Rows(current.features, labels))[1].columns == 6
