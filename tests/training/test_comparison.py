"""Champion against challenger: published values of the tests, and one verdict for each way it may go."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.mixed_tables import COLUMNS, mixed_frame, mixed_sections
from training.bundling.bundle import build_bundle
from training.configuration.sections import GatesSection
from training.errors import GateError
from training.fitting.fit import FittedModel
from training.judging.champion import Champion, read_champion
from training.judging.comparison import Verdict, compare_models
from training.judging.gates import judge_champion, require_gates
from training.judging.paired_tests import mcnemar_mid_p, sign_flip_p
from training.report import show_gates

Fit = Callable[..., FittedModel]


def test_mcnemar_has_the_published_values() -> None:
    """Fagerland, Lydersen and Laake (2013): 1 and 7 discordant pairs give mid-p 0.0391, 0 and 5 give 0.0313."""
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar_mid_p(5, 0) == pytest.approx(0.03125)
    assert mcnemar_mid_p(0, 0) == 1


@given(first=st.integers(min_value=0, max_value=400), second=st.integers(min_value=0, max_value=400))
def test_law_mcnemar_is_a_probability_and_knows_no_side(first: int, second: int) -> None:
    """Whoever is called first; never above 1, and nothing of 0 rows."""
    p = mcnemar_mid_p(first, second)
    assert 0 < p <= 1
    assert p == mcnemar_mid_p(second, first)


def test_sign_flips_keep_their_level_and_find_differences() -> None:
    """Of 200 pairs of like models about 1 in 20 has p <= 0.05; a clear shift has almost none; never 0."""
    random = np.random.default_rng(1)
    found = [sign_flip_p(random.normal(size=30), 7) for _ in range(200)]
    assert 2 <= sum(p <= 0.05 for p in found) <= 20
    assert sign_flip_p(random.normal(1.5, 1, 40), 7) == 1e-4
    assert sign_flip_p(np.zeros(9), 7) == 1
    assert sign_flip_p(np.full(3, 1e200), 7) == pytest.approx(0.25, abs=0.02)


def forest(trees: int = 60, depth: int = 6) -> dict[str, Any]:
    parameters = {"n_estimators": trees, "max_depth": depth}
    return {"class": "sklearn.ensemble.RandomForestClassifier", "parameters": parameters}


def crowned(model: FittedModel, name: str = "champion") -> Champion:
    """Return the champion that `model` would be."""
    Path(name).mkdir()
    return read_champion(build_bundle(Path(name), model, name="mixed", seed=7), 3)


def wide(**sections: Any) -> dict[str, Any]:  # noqa: ANN401 (of any section)
    """Return sections of a table that is large enough for differences to show."""
    mixed = mixed_sections(**sections)
    mixed_frame(1200).to_csv("mixed.csv", index=False)
    return mixed


def test_stump_against_forest_and_back(fit: Fit) -> None:
    """The same table, split and seed: all held-out rows count, and the verdict turns with the sides."""
    stump, strong = fit(**wide(estimator=forest(1, 1))), fit(**wide(estimator=forest()))
    better = compare_models(strong, crowned(stump, "stump"), 7)
    assert (better.verdict, better.rows, better.left_out) == (Verdict.BETTER, 240, 0)
    assert better.only_challenger > better.only_champion
    assert better.challenger_score == pytest.approx(strong.metrics.accuracy)
    assert better.p_value is not None
    assert better.p_value < 0.001
    worse = compare_models(stump, crowned(strong, "strong"), 7)
    assert (worse.verdict, worse.p_value) == (Verdict.WORSE, better.p_value)
    assert worse.to_json()["verdict"] == "WORSE"
    assert "WORSE than champion version 3: accuracy" in str(worse)


def test_a_model_is_no_better_than_itself(fit: Fit) -> None:
    """No discordant row: p is 1, the verdict NO_DIFFERENCE."""
    model = fit(**wide(estimator=forest(5)))
    found = compare_models(model, crowned(model), 7)
    assert (found.verdict, found.p_value, found.only_champion) == (Verdict.NO_DIFFERENCE, 1.0, 0)


def test_rows_that_the_champion_was_fitted_on_do_not_count(fit: Fit) -> None:
    """With another seed it knows some of the held-out rows; all of its table are left out, and nothing remains."""
    champion = crowned(fit(**wide(estimator=forest(5))))
    found = compare_models(fit(**wide(estimator=forest(5), split={"seed": 8})), champion, 7)
    assert found.verdict == Verdict.NOT_COMPARABLE
    assert "it may have been fitted on 240" in found.reason
    assert "train with the seed and the split of the champion" in found.reason


def test_newer_rows_are_compared_on(fit: Fit) -> None:
    """A table that has grown: of the held-out rows only those that the champion's table has not."""
    champion = crowned(fit(**wide(estimator=forest(1, 1))))
    sections = wide(estimator=forest())
    fresh = mixed_frame(800, seed=99)
    pd.concat([pd.read_csv("mixed.csv"), fresh]).to_csv("mixed.csv", index=False)
    found = compare_models(fit(**sections), champion, 7)
    assert found.verdict == Verdict.BETTER
    assert found.rows + found.left_out == 400
    assert 120 < found.rows < 200


def test_rows_that_the_champion_refuses_do_not_count(fit: Fit) -> None:
    """A category that it does not know says nothing about its quality."""
    sections = wide(estimator=forest(5))
    known = {**COLUMNS, "kind": {"type": "category", "values": ["red", "blue|green"]}}
    frame = pd.read_csv("mixed.csv")
    frame[frame["kind"].isin(known["kind"]["values"])].to_csv("mixed.csv", index=False)
    champion = crowned(fit(**sections | {"contract": {"columns": known}}))
    mixed_frame(1200, seed=6).to_csv("mixed.csv", index=False)
    model = fit(**sections)
    held_out = model.table.frame.iloc[model.held_out_rows]
    found = compare_models(model, champion, 7)
    taken = held_out["kind"].isin(known["kind"]["values"]).sum()
    assert (
        100 < found.rows <= taken < len(held_out)
    )  # a few rows without a length are in both tables by chance


def test_regressors_are_compared_by_squared_errors(fit: Fit) -> None:
    """A constant tree against a line."""
    sections = mixed_sections("amount")
    mixed_frame(600).to_csv("mixed.csv", index=False)
    tree = {"class": "sklearn.tree.DecisionTreeRegressor", "parameters": {"max_depth": 1}}
    champion = crowned(fit(**sections, estimator=tree))
    found = compare_models(fit(**sections, estimator={"class": "sklearn.linear_model.Ridge"}), champion, 7)
    assert (found.verdict, found.rows) == (Verdict.BETTER, 120)
    assert found.test.startswith("sign flips")


def test_other_tasks_and_other_columns_are_not_comparable(fit: Fit) -> None:
    """The reason names what differs."""
    champion = crowned(fit(**mixed_sections(estimator=forest(3))))
    line = fit(**mixed_sections("amount", estimator={"class": "sklearn.linear_model.Ridge"}))
    assert "one is a classifier and the other a regressor" in compare_models(line, champion, 7).reason
    sections = mixed_sections(estimator=forest(3))
    sections["dataset"]["features"] = ["length", "kind"]
    found = compare_models(fit(**sections), champion, 7)
    assert found.verdict == Verdict.NOT_COMPARABLE
    assert "it takes count, size, which the table of the new model does not have" in found.reason


@pytest.mark.parametrize(
    ("wanted", "verdict", "passes"),
    [
        ("better", "BETTER", True),
        ("better", "NO_DIFFERENCE", False),
        ("better", "NOT_COMPARABLE", False),
        ("not_worse", "NO_DIFFERENCE", True),
        ("not_worse", "WORSE", False),
        ("not_worse", "NOT_COMPARABLE", False),
    ],
)
def test_gate_asks_for_a_verdict(
    wanted: Any,  # noqa: ANN401 (a literal)
    verdict: str,
    passes: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not comparable is never good enough; unset asks nothing; passed or not, it is shown."""
    gates = judge_champion(GatesSection(champion=wanted), verdict, "because")
    show_gates(gates)
    assert capsys.readouterr().err.startswith(
        f"    {'pass' if passes else 'FAIL'}  gate: champion: {verdict} is"
    )
    if passes:
        require_gates("m", gates)
    else:
        with pytest.raises(GateError, match=rf"champion: {verdict} is not {wanted} \(because\)"):
            require_gates("m", gates)
    assert judge_champion(GatesSection(), verdict, "because") == []


def test_champion_answers_as_its_server_does(fit: Fit) -> None:
    """By ONNX, or by scikit-learn without the step `encode` when it has no ONNX form."""
    model = fit(**mixed_sections(estimator=forest(3)))
    champion = crowned(model)
    frame = model.table.frame
    by_onnx = champion.answers(frame)
    assert by_onnx.tolist() == model.estimator.predict(model.inputs()).tolist()
    manifest = type(champion.manifest)()
    manifest.CopyFrom(champion.manifest)
    manifest.runtime = 2
    assert replace(champion, manifest=manifest).answers(frame).tolist() == by_onnx.tolist()
