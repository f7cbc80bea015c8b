"""Intervals, tables and figures of held-out rows, against SciPy, scikit-learn and published values."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from tests.training.mixed_tables import mixed_sections
from training.fitting.fit import FittedModel
from training.judging.calibration import calibrate
from training.judging.evaluation import evaluate
from training.judging.evaluation_files import write_evaluation
from training.judging.intervals import accuracy_interval, r2_interval

Fit = Callable[..., FittedModel]


def test_accuracy_interval_has_the_published_values() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3."""
    for right, rows, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        assert accuracy_interval(right, rows) == pytest.approx((low, high), abs=6e-5)


@given(rows=st.integers(min_value=1, max_value=5000), data=st.data())
def test_law_accuracy_lies_in_its_interval(rows: int, data: st.DataObject) -> None:
    """For any count; the ends are shares, and the mirror image is the interval of the errors."""
    right = data.draw(st.integers(min_value=0, max_value=rows))
    low, high = accuracy_interval(right, rows)
    assert 0 <= low <= right / rows <= high <= 1
    assert accuracy_interval(rows - right, rows) == pytest.approx((1 - high, 1 - low))


def test_r2_interval_covers_and_repeats() -> None:
    """In 100 tables of 80 rows it holds the true r2 in about 95; the same seed gives the same ends."""
    random, inside = np.random.default_rng(2), 0
    for _ in range(100):
        signal = random.normal(size=80)
        truth = signal + random.normal(size=80)
        low, high = r2_interval(truth, signal, seed=1)  # half of the variance is explained
        inside += low <= 0.5 <= high
        assert r2_interval(truth, signal, seed=1) == (low, high)
    assert 86 <= inside <= 100
    assert np.isnan(r2_interval(np.ones(5), np.zeros(5), seed=1)).all()


def test_calibration_agrees_with_scikit_learn() -> None:
    """Brier: scikit-learn's, for two classes and for three. ECE is 0 when probabilities mean what they say."""
    random = np.random.default_rng(3)
    share = random.random(4000)
    true = (random.random(4000) < share).astype(np.int64)
    found = calibrate(true, np.column_stack([1 - share, share]), ("no", "yes"))
    assert found.brier == pytest.approx(brier_score_loss(true, share))
    assert found.expected_error < 0.03
    assert sum(one.rows for one in found.bins) == 4000
    sure = calibrate(true, np.eye(2)[np.ones(4000, dtype=int)], ("no", "yes"))
    assert sure.expected_error == pytest.approx(1 - true.mean())
    shares, three = random.dirichlet(np.ones(3), 4000), random.integers(0, 3, 4000)
    of_three = calibrate(three, shares, ("a", "b", "c"))
    assert of_three.brier == pytest.approx(brier_score_loss(three, shares, labels=[0, 1, 2]))


def test_classification_is_evaluated_by_class(fit: Fit) -> None:
    """Rows of the confusion matrix are the true classes; the diagonal is the accuracy; noise has no importance."""
    sections = mixed_sections(estimator={"class": "sklearn.ensemble.RandomForestClassifier"})
    sections["dataset"]["features"].append("noise")
    frame = pd.read_csv("mixed.csv")
    frame["noise"] = np.random.default_rng(1).random(len(frame))
    frame.to_csv("mixed.csv", index=False)
    model = fit(**sections)
    found = evaluate(model, 7)
    assert found.confusion is not None
    counts = np.array(found.confusion.counts)
    assert np.trace(counts) / counts.sum() == pytest.approx(model.metrics.accuracy)
    assert [one.rows for one in found.classes] == counts.sum(axis=1).tolist()
    assert found.classes[0].recall == pytest.approx(counts[0, 0] / counts[0].sum())
    importance = {one.feature: one.mean for one in found.importance}
    assert importance["noise"] < max(importance["length"], importance["kind"])
    assert evaluate(model, 7) == found


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (
            {"class": "sklearn.tree.DecisionTreeClassifier"},
            {
                "per_class.json",
                "confusion_matrix.json",
                "confusion_matrix.png",
                "calibration.json",
                "calibration.png",
            },
        ),
        ({"class": "sklearn.tree.DecisionTreeRegressor"}, {"residuals.json", "residuals.png"}),
    ],
    ids=["classification", "regression"],
)
def test_evaluation_becomes_figures_and_json(fit: Fit, section: dict[str, str], names: set[str]) -> None:
    """Every part as JSON, and as a PNG where there is something to see; twice the same bytes."""
    classifies = section["class"].endswith("Classifier")
    model = fit(**mixed_sections("y" if classifies else "amount", estimator=section))
    evaluation = evaluate(model, 7)
    for directory in ("1", "2"):
        write_evaluation(Path(directory), evaluation, champion_comparison={"verdict": "BETTER"})
    written = {path.name: path.read_bytes() for path in Path("1").iterdir()}
    always = {"feature_importance.json", "feature_importance.png", "champion_comparison.json"}
    assert set(written) == names | always
    assert {path.name: path.read_bytes() for path in Path("2").iterdir()} == written
    assert all(content.startswith(b"\x89PNG") for name, content in written.items() if name.endswith(".png"))
    assert [one["feature"] for one in json.loads(written["feature_importance.json"])]


def test_labels_that_matplotlib_takes_for_mathematics(fit: Fit) -> None:
    """Dollars, scripts without a glyph and very long labels do not end a training."""
    random = np.random.default_rng(4)
    labels = np.array(["$\\frac{", "漢字", "x" * 200])[random.integers(3, size=90)]
    frame = pd.DataFrame({"$a_1^{": random.random(90), "y": labels})
    frame.to_csv("odd.csv", index=False)
    model = fit(dataset={"source": "odd.csv", "target": "y"}, estimator={"parameters": {"n_estimators": 5}})
    write_evaluation(Path("e"), evaluate(model, 7))
    assert Path("e/confusion_matrix.png").exists()
