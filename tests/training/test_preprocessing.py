"""Texts and holes: prepared inside the artifact, the same for scikit-learn, ONNX and whoever loads the model."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from protos.inference.v1.manifest_pb2 import FeatureType, Runtime
from tests.training.mixed_tables import COLUMNS, mixed_sections
from training.bundling.bundle import Bundle, build_bundle
from training.bundling.compile import OnnxModel, compile_to_onnx
from training.bundling.parity import compare_outputs
from training.bundling.probes import probe_rows
from training.data.columns import columns_of, decode_rows, encode_rows
from training.errors import ConfigError, EstimatorError
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part

Fit = Callable[..., FittedModel]


@pytest.fixture(scope="module")
def mixed(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """A boosted model on the mixed table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mixed"))
        return fit(**mixed_sections(estimator=boosting()))


@pytest.fixture(scope="module")
def bundle(mixed: FittedModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its bundle."""
    return build_bundle(tmp_path_factory.mktemp("bundle"), mixed, name="mixed", seed=7)


def boosting() -> dict[str, Any]:
    return {"class": "sklearn.ensemble.GradientBoostingClassifier", "parameters": {"n_estimators": 20}}


def step(path: str, **parameters: object) -> dict[str, Any]:
    return {"class": f"sklearn.{path}", "parameters": parameters}


def test_model_with_texts_is_a_pipeline_that_begins_with_encode(mixed: FittedModel) -> None:
    """`encode` gives exactly the matrix that servers make of a request: codes in their order, NaN for the rest."""
    assert isinstance(mixed.estimator, Pipeline)
    assert mixed.estimator.steps[0][0] == "encode"
    encoded = mixed.estimator.steps[0][1].transform(mixed.inputs())
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, mixed.matrix())
    strange = mixed.inputs().iloc[:3].copy()
    strange["size"] = ["", "XL", None]
    assert np.isnan(mixed.estimator.steps[0][1].transform(strange)[:, 3]).all()


def test_rows_survive_the_matrix(mixed: FittedModel) -> None:
    """Decoding what was encoded gives the texts, holes and float32 numbers back."""
    frame = mixed.table.frame[list(mixed.table.features)]
    back = decode_rows(mixed.matrix(), mixed.columns)
    assert back["kind"].tolist() == frame["kind"].tolist()
    assert (back["size"].isna() == frame["size"].isna()).all()
    np.testing.assert_array_equal(encode_rows(back, mixed.columns), mixed.matrix())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("ensemble.RandomForestClassifier", "y"),
        ("ensemble.HistGradientBoostingClassifier", "y"),
        ("linear_model.LogisticRegression", "y"),
        ("ensemble.GradientBoostingRegressor", "amount"),
        ("linear_model.Ridge", "amount"),
    ],
)
def test_parity_holds_with_texts_and_holes(fit: Fit, name: str, target: str) -> None:
    """Missing values, unknown texts and every category give the same in ONNX as in the whole pipeline."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        model = fit(**mixed_sections(target, estimator={"class": f"sklearn.{name}"}))
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert parity.passed, parity.reason
    assert parity.rows > 8000


def test_probes_hold_every_category_and_holes_where_they_may_be(mixed: FittedModel) -> None:
    """Codes are whole and known, also of a category that no row has; only nullable columns have NaN."""
    rows = probe_rows(mixed, seed=1)
    for values, (name, column) in zip(rows.T, COLUMNS.items(), strict=True):
        present = values[~np.isnan(values)]
        assert np.isnan(values).any() == column.get("nullable", False), name
        if "values" in column:
            assert set(present.tolist()) == set(range(len(column["values"])))
    assert np.isnan(rows[:, [0, 3]]).all(axis=1).any()


def test_manifest_tells_servers_the_columns(bundle: Bundle, mixed: FittedModel) -> None:
    """Types, categories in code order, what may be missing; golden rows hold codes and NaN, and every category."""
    manifest = bundle.manifest
    assert columns_of(manifest.features) == mixed.columns
    assert [feature.type for feature in manifest.features] == [
        FeatureType.FEATURE_TYPE_FLOAT,
        FeatureType.FEATURE_TYPE_CATEGORY,
        FeatureType.FEATURE_TYPE_INTEGER,
        FeatureType.FEATURE_TYPE_CATEGORY,
    ]
    assert list(manifest.features[1].categories) == COLUMNS["kind"]["values"]
    assert [feature.unknown_as_missing for feature in manifest.features] == [False, False, False, True]
    assert manifest.runtime == Runtime.RUNTIME_ONNX, manifest.parity.reason
    golden = np.array([row.features for row in manifest.golden_rows])
    assert set(golden[:, 1].tolist()) == {0, 1, 2}
    assert np.isnan(golden[:, 3]).any()
    assert {0.0, 1.0, 2.0} <= set(golden[:, 3].tolist())
    assert '"NaN"' in (bundle.directory / "manifest.json").read_text()


def test_reference_keeps_texts_and_holes(bundle: Bundle, mixed: FittedModel) -> None:
    """Drift compares what clients send: texts, not codes."""
    reference = pd.read_csv(bundle.directory / "reference.csv")
    assert reference["feature_1"].tolist() == mixed.table.frame["kind"].tolist()
    assert reference["feature_3"].isna().sum() == mixed.table.frame["size"].isna().sum()


def test_stock_mlflow_takes_the_tables_own_columns(bundle: Bundle, mixed: FittedModel) -> None:
    """The signature and the example have texts, and mlflow.pyfunc predicts labels from them."""
    model = mlflow.pyfunc.load_model(str(bundle.directory))
    types = {column.name: column.type.name for column in model.metadata.get_input_schema().inputs}
    assert (types["kind"], types["length"], types["count"]) == ("string", "double", "long")
    example = json.loads((bundle.directory / "input_example.json").read_bytes())
    assert "kind" in example["columns"]
    rows = mixed.table.frame[list(mixed.table.features)].iloc[:40]
    assert list(model.predict(rows)) == list(mixed.estimator.predict(mixed.inputs(rows)))


def test_holes_in_numbers_need_no_encode_step(fit: Fit) -> None:
    """Without texts the model takes the matrix as it is, and its first step fills what is missing."""
    sections = mixed_sections(estimator=boosting())
    sections["dataset"]["features"] = ["length", "count"]
    sections["contract"] = {"columns": {"length": {"nullable": True}}}
    model = fit(**sections)
    assert [name for name, _ in model.estimator.steps] == ["prepare", "estimate"]
    assert matrix_part(model.estimator) is model.estimator
    assert compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1).passed


def test_configured_steps_replace_the_automatic_ones(fit: Fit) -> None:
    """`numbers` and `categories` stand for the columns of a kind that no other entry names."""
    entries = [
        {"columns": ["length"], "steps": [step("impute.SimpleImputer", strategy="mean")]},
        {"columns": ["numbers"], "steps": [step("preprocessing.StandardScaler")]},
        {
            "columns": ["categories"],
            "steps": [
                step("impute.SimpleImputer", strategy="constant", fill_value=0),
                step("preprocessing.OneHotEncoder", handle_unknown="ignore", sparse_output=False),
            ],
        },
    ]
    logistic = {"class": "sklearn.linear_model.LogisticRegression"}
    model = fit(**mixed_sections(estimator=logistic, preprocessing=entries))
    assert [places for _, _, places in model.estimator.named_steps["prepare"].transformers_] == [
        [0],
        [2],
        [1, 3],
    ]
    assert compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1).passed


def test_no_preprocessing_leaves_codes_and_holes_to_the_estimator(fit: Fit) -> None:
    """`[]`: histogram boosting takes NaN as it comes, and its ONNX form sends it the same way."""
    histogram = {"class": "sklearn.ensemble.HistGradientBoostingClassifier"}
    model = fit(**mixed_sections(estimator=histogram, preprocessing=[]))
    assert [name for name, _ in model.estimator.steps] == ["encode", "estimate"]
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert parity.passed, parity.reason


@pytest.mark.parametrize(
    ("entries", "error", "sentence"),
    [
        (
            [{"columns": ["width"], "steps": [step("preprocessing.StandardScaler")]}],
            ConfigError,
            "there is no column 'width'; features are length, kind, count, size",
        ),
        (
            [
                {"columns": [name], "steps": [step("preprocessing.StandardScaler")]}
                for name in ("length", "length")
            ],
            ConfigError,
            "entry 0 has the column length already",
        ),
        (
            [{"columns": ["numbers"], "steps": [step("preprocessing.StandardScalar")]}],
            EstimatorError,
            "has no attribute 'StandardScalar'",
        ),
        (
            [{"columns": ["numbers"], "steps": [step("linear_model.Ridge")]}],
            EstimatorError,
            "it is no scikit-learn transformer",
        ),
        ([], EstimatorError, "contains NaN"),
    ],
    ids=["column", "twice", "class", "estimator", "holes"],
)
def test_wrong_preprocessing_is_a_sentence(
    fit: Fit, entries: list[dict[str, Any]], error: type[Exception], sentence: str
) -> None:
    """What was asked, what exists, what to do; before or in the fit, never in the server."""
    with pytest.raises(error, match=sentence):
        fit(**mixed_sections(estimator=step("linear_model.LogisticRegression"), preprocessing=entries))


def test_category_that_only_held_out_rows_have(fit: Fit) -> None:
    """`xl` is allowed and stands in no row; a category of held-out rows alone is one column of zeros, no error."""
    sections = mixed_sections(estimator=boosting())
    frame = pd.read_csv("mixed.csv")
    frame["when"] = range(len(frame))
    frame.loc[frame.index[-10:], "size"] = "xl"
    frame.to_csv("mixed.csv", index=False)
    model = fit(**sections | {"split": {"kind": "time", "time": "when"}})
    assert "xl" not in set(model.table.frame["size"].iloc[model.train_rows].dropna())
    assert compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1).passed


def test_model_card_is_in_the_bundle(bundle: Bundle) -> None:
    """Figures with intervals, categories, steps, parity, and how to serve it; listed in the manifest."""
    card = (bundle.directory / "model_card.md").read_text()
    assert "model_card.md" in {file.path for file in bundle.manifest.files}
    for text in (
        "(Wilson)",
        "`red`, `blue¦green`",
        "| `no` |",
        "0 different",
        "MODEL_URI=models:/mixed/VERSION",
    ):
        assert text in card
    assert Path(bundle.directory / "model.onnx").exists()


def test_a_step_that_fails_is_named_and_not_the_estimator(fit: Fit) -> None:
    """In the fit and afterwards; a scaler inside the estimator itself is the estimator's own affair."""
    sections = mixed_sections(
        estimator=step("ensemble.HistGradientBoostingClassifier"),
        preprocessing=[
            {
                "columns": ["numbers"],
                "steps": [
                    step("impute.SimpleImputer"),
                    step("preprocessing.KBinsDiscretizer", n_bins=1),
                ],
            }
        ],
    )
    with pytest.raises(
        EstimatorError, match=r"as a step of \[\[preprocessing\]\] it fails: .*n_bins"
    ) as caught:
        fit(**sections)
    assert caught.value.estimator == "sklearn.preprocessing.KBinsDiscretizer"
    sections["preprocessing"] = []
    sections["estimator"] = step("linear_model.LogisticRegression")
    with pytest.raises(EstimatorError, match="NaN") as caught:
        fit(**sections)
    assert caught.value.estimator == "sklearn.linear_model.LogisticRegression"
