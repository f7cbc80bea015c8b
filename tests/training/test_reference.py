"""The drift reference: predictions as a served model makes them, on rows that it has not seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drift.alarm.permutation import evaluate_alarm
from drift.rows import Predictions, Reference, Rows, Schema
from training.bundling.bundle import build_bundle
from training.bundling.reference import predict_out_of_sample
from training.errors import EstimatorError
from training.fitting.fit import FittedModel

Fit = Callable[..., FittedModel]
DATASET = {"source": "noisy.csv", "target": "y"}


def noisy_rows(random: np.random.Generator, count: int) -> pd.DataFrame:
    """Three features of which one says a little about the label, which is `yes` in about 30 % of the rows."""
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=["a", "b", "c"])
    chance = 1 / (1 + np.exp(1 - frame["a"]))
    return frame.assign(y=np.where(random.random(count) < chance, "yes", "no"))


def held_out(model: FittedModel) -> np.ndarray:
    return np.setdiff1d(np.arange(len(model.table.frame)), model.train_rows)


def count_alarms(model: FittedModel, predictions: Predictions, windows: list[pd.DataFrame]) -> int:
    """Return how many windows, answered by `model`, raise the prediction alarm against these predictions."""
    features = model.table.frame[["a", "b", "c"]].to_numpy()
    schema = Schema(("feature_0", "feature_1", "feature_2"), "label")
    reference = Reference(schema, Rows(features, predictions.astype(object)), len(features))
    alarms = 0
    for window in windows:
        live = model.estimator.predict(model.inputs(window[["a", "b", "c"]])).astype(object)
        alarms += evaluate_alarm(reference, Rows(window[["a", "b", "c"]].to_numpy(), live)).prediction
    return alarms


def test_noise_without_drift_raises_no_alarm(fit: Fit) -> None:
    """Of 20 windows of 500 fresh rows without drift at most 1 alarms.

    Against the model's predictions of its own training rows, which the reference had before, most of them do.
    """
    random = np.random.default_rng(3)
    noisy_rows(random, 1000).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"parameters": {"n_estimators": 30}})
    windows = [noisy_rows(random, 500) for _ in range(20)]
    assert count_alarms(model, predict_out_of_sample(model, 7), windows) <= 1
    assert count_alarms(model, model.estimator.predict(model.inputs()), windows) > 10


def test_reference_of_a_bundle_is_out_of_sample(fit: Fit) -> None:
    """A tree repeats every target that it was fitted on; the reference does not, and held-out rows keep theirs."""
    noisy_rows(np.random.default_rng(5), 200).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"class": "sklearn.tree.DecisionTreeClassifier"})
    own, rows = model.estimator.predict(model.inputs()), model.train_rows
    assert (own[rows] == model.targets[rows]).all()
    Path("b").mkdir()
    build_bundle(Path("b"), model, name="noisy", seed=7)
    written = pd.read_csv("b/reference.csv")["prediction"].to_numpy(dtype=str)
    assert 0.4 < (written[rows] == model.targets[rows]).mean() < 0.8
    assert (written[held_out(model)] == own[held_out(model)]).all()
    assert (written == predict_out_of_sample(model, 7)).all()
    assert (written != predict_out_of_sample(model, 8)).any()


def test_values_are_out_of_sample_too(fit: Fit) -> None:
    """Regression: a tree that hits every training value exactly misses them in the reference."""
    random = np.random.default_rng(6)
    frame = pd.DataFrame({"a": random.random(60), "y": random.random(60)})
    frame.to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"class": "sklearn.tree.DecisionTreeRegressor"})
    found, rows = predict_out_of_sample(model, 7), model.train_rows
    assert found.shape == (60,)
    assert (found[rows] != model.targets[rows]).all()
    assert (found[held_out(model)] == model.predict(model.inputs())[held_out(model)]).all()


@pytest.mark.parametrize("rare", [2, 3, 4])
def test_a_small_class_bounds_the_folds(fit: Fit, rare: int) -> None:
    """Down to a single fitted row of a class every row is predicted, without a warning."""
    frame = noisy_rows(np.random.default_rng(8), 80)
    frame.loc[: rare - 1, "y"] = "rare"
    frame.to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, split={"test_ratio": 0.4}, estimator={"parameters": {"n_estimators": 5}})
    assert set(predict_out_of_sample(model, 7)) <= {"yes", "no", "rare"}


def test_estimator_that_needs_every_row_still_makes_a_bundle(
    fit: Fit, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folds too small for the estimator cost the reference its unseen predictions, said in a note; not the model."""
    frame = noisy_rows(np.random.default_rng(9), 40)
    frame["y"] = ["no"] * 38 + ["yes"] * 2  # one of the two is held out, and one of the folds has no `yes`
    frame.to_csv("noisy.csv", index=False)
    model = fit(
        dataset=DATASET,
        split={"test_ratio": 0.5},
        estimator={"class": "sklearn.linear_model.LogisticRegression"},
    )
    with pytest.raises(EstimatorError, match=r"fitted on a part of its rows, .* add rows"):
        predict_out_of_sample(model, 7)
    Path("b").mkdir()
    build_bundle(Path("b"), model, name="noisy", seed=7)
    assert (
        "note: the predictions in reference.csv are those of rows that were fitted on"
        in capsys.readouterr().err
    )
    assert len(pd.read_csv("b/reference.csv")) == 40
