"""The drift reference: predictions as a served model makes them, on rows that it has not seen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, StratifiedKFold, cross_val_predict

from drift.alarm.calibration import Calibration
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
    """Return in how many windows, answered by `model`, the predictions are found to differ from these."""
    features = model.table.frame[["a", "b", "c"]].to_numpy()
    schema = Schema(("feature_0", "feature_1", "feature_2"), "label")
    calibration = Calibration(Reference(schema, Rows(features, predictions.astype(object)), len(features)))
    alarms = 0
    for window in windows:
        live = model.estimator.predict(model.inputs(window[["a", "b", "c"]])).astype(object)
        finding = calibration.test(Rows(window[["a", "b", "c"]].to_numpy(), live))
        alarms += finding.exceeds("prediction")
    return alarms


def test_noise_without_drift_raises_no_alarm(fit: Fit) -> None:
    """Of 20 windows of 500 fresh rows without drift at most 1 alarms.

    Against the model's predictions of its own training rows, which the reference had before, most of them do.
    """
    random = np.random.default_rng(3)
    noisy_rows(random, 1000).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"parameters": {"n_estimators": 30}})
    windows = [noisy_rows(random, 500) for _ in range(20)]
    assert count_alarms(model, predict_out_of_sample(model, 7).predictions, windows) <= 1
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
    assert (written == predict_out_of_sample(model, 7).predictions).all()
    assert (written != predict_out_of_sample(model, 8).predictions).any()


def test_values_are_out_of_sample_too(fit: Fit) -> None:
    """Regression: a tree that hits every training value exactly misses them in the reference."""
    random = np.random.default_rng(6)
    frame = pd.DataFrame({"a": random.random(60), "y": random.random(60)})
    frame.to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"class": "sklearn.tree.DecisionTreeRegressor"})
    found, rows = predict_out_of_sample(model, 7).predictions, model.train_rows
    assert found.shape == (60,)
    assert (found[rows] != model.targets[rows]).all()
    assert (found[held_out(model)] == model.predict(model.inputs())[held_out(model)]).all()
    Path("b").mkdir()
    build_bundle(Path("b"), model, name="noisy", seed=7)
    assert list(pd.read_csv("b/reference.csv").columns) == ["feature_0", "prediction", "target"]


def test_confidence_is_the_highest_unseen_probability(fit: Fit) -> None:
    """Of held-out rows the model's own, of fitted rows that of scikit-learn's cross-validation; exact as float32."""
    noisy_rows(np.random.default_rng(5), 200).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"parameters": {"n_estimators": 30}})
    rows, inputs = model.train_rows, model.inputs()
    shares = model.estimator.predict_proba(inputs)
    folds = StratifiedKFold(5, shuffle=True, random_state=7)
    shares[rows] = cross_val_predict(
        model.estimator, inputs.iloc[rows], model.targets[rows], cv=folds, method="predict_proba"
    )
    Path("b").mkdir()
    build_bundle(Path("b"), model, name="noisy", seed=7)
    written = pd.read_csv("b/reference.csv")
    assert (written["confidence"].astype(np.float32) == shares.max(axis=1).astype(np.float32)).all()
    assert (written["prediction"] == model.estimator.classes_[shares.argmax(axis=1)]).all()
    assert max(pd.read_csv("b/reference.csv", dtype=str)["confidence"].str.len()) <= len("0.123456789")


def test_confidence_says_how_often_a_fitting_model_is_right(fit: Fit) -> None:
    """The mean confidence of a logistic regression is its accuracy, where the labels are drawn from one."""
    noisy_rows(np.random.default_rng(11), 2000).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, estimator={"class": "sklearn.linear_model.LogisticRegression"})
    found = predict_out_of_sample(model, 7)
    accuracy = (found.predictions == model.targets).mean()
    # Standard error of the accuracy of 2000 rows: 0.01.
    assert found.confidences.mean() == pytest.approx(accuracy, abs=0.02)


def test_confidence_is_that_of_the_prediction(fit: Fit) -> None:
    """A classifier that says `yes` only from 70 % on is less than half sure of some `no`, and the row says so."""
    noisy_rows(np.random.default_rng(5), 200).to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET)
    careful = FixedThresholdClassifier(LogisticRegression(), threshold=0.7, pos_label="yes")
    careful.fit(model.inputs().iloc[model.train_rows], model.targets[model.train_rows])
    found = predict_out_of_sample(replace(model, estimator=careful), 7)
    unsure = found.confidences < 0.5
    assert unsure.any()
    assert set(found.predictions[unsure]) == {"no"}
    assert (found.confidences[found.predictions == "yes"] >= np.float32(0.7)).all()


@pytest.mark.parametrize("rare", [2, 3, 4])
def test_a_small_class_bounds_the_folds(fit: Fit, rare: int) -> None:
    """Down to a single fitted row of a class every row is predicted, without a warning."""
    frame = noisy_rows(np.random.default_rng(8), 80)
    frame.loc[: rare - 1, "y"] = "rare"
    frame.to_csv("noisy.csv", index=False)
    model = fit(dataset=DATASET, split={"test_ratio": 0.4}, estimator={"parameters": {"n_estimators": 5}})
    found = predict_out_of_sample(model, 7)
    assert set(found.predictions) <= {"yes", "no", "rare"}
    assert ((found.confidences >= np.float32(1 / 3)) & (found.confidences <= 1)).all()


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
    reference = pd.read_csv("b/reference.csv")
    assert (len(reference), "confidence" in reference) == (40, False)  # it would be that of fitted rows
