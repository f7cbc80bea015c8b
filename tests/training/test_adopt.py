"""Plain MLflow models become bundles, or are refused with a sentence."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from protos.inference.v1.manifest_pb2 import FeatureType, ModelManifest, Runtime
from training.adopt import Order, adopt
from training.bundling.bundle import read_bundle
from training.errors import BundleError

ROOT = Path(__file__).parents[2]
TRUSTED = [
    "sklearn.tree._tree.Tree",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]
X, Y = load_iris(return_X_y=True)
NAMED = pd.DataFrame(X, columns=list("abcd"))

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a fitted estimator as MLflow does; `inputs` give it a signature."""

    def save(model: BaseEstimator, inputs: object = None, **options: object) -> Path:
        directory = tmp_path / f"plain-{len(list(tmp_path.iterdir()))}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signature = None if inputs is None else infer_signature(inputs, model.predict(inputs))
            mlflow.sklearn.save_model(
                model, directory, signature=signature, pip_requirements=["scikit-learn"],
                skops_trusted_types=TRUSTED, **options,
            )  # fmt: skip
        return directory

    return save


def adopted(directory: Path, trusted: Sequence[str] = TRUSTED, **options: object) -> ModelManifest:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fields = {"metrics": {}, "allow_pickle": False, "trusted_types": trusted, **options}
        adopt(Order(directory, "iris", "run", **fields))
    return read_bundle(directory).manifest


def refusal(directory: Path, **options: object) -> str:
    with pytest.raises(BundleError) as caught:
        adopted(directory, **options)
    assert not (directory / "manifest.json").exists()
    return str(caught.value)


def test_complete(save: Save) -> None:
    """Every file of the directory is in the manifest, the compiled model among them."""
    directory = save(DecisionTreeClassifier(random_state=0).fit(NAMED, Y), NAMED)
    manifest = adopted(directory, metrics={"accuracy": 0.9, "r2": 0.1})
    assert {"MLmodel", "model.skops", "model.onnx", "metrics.json"} <= {file.path for file in manifest.files}
    assert (manifest.runtime, manifest.sklearn_file) == (Runtime.RUNTIME_ONNX, "model.skops")
    assert manifest.lineage.estimator == "sklearn.tree._classes.DecisionTreeClassifier"
    assert json.loads((directory / "metrics.json").read_text()) == {
        "accuracy": 0.9,
        "test_rows": 0,
        "train_rows": 0,
    }


def test_whole_numbers(save: Save) -> None:
    """Columns of whole numbers and booleans are whole in the manifest, and in its golden rows."""
    inputs = pd.DataFrame({"n": np.arange(20), "on": np.arange(20) % 2 == 0, "x": np.linspace(0, 1, 20)})
    manifest = adopted(save(Ridge().fit(inputs, inputs["n"] * 2.0), inputs))
    whole, fraction = FeatureType.FEATURE_TYPE_INTEGER, FeatureType.FEATURE_TYPE_FLOAT
    assert [feature.type for feature in manifest.features] == [whole, whole, fraction]
    assert all(row.features[0] == round(row.features[0]) for row in manifest.golden_rows)


def test_order_of_the_estimator(save: Save) -> None:
    """Columns stand in the order that the estimator was fitted with, whatever that of the signature."""
    model = LogisticRegression(max_iter=500).fit(NAMED, Y)
    directory = save(model, NAMED)
    text = (directory / "MLmodel").read_text()
    for old, new in (("a", "?"), ("d", "a"), ("?", "d")):
        text = text.replace(f'"name": "{old}"', f'"name": "{new}"')
    (directory / "MLmodel").write_text(text)
    assert [feature.name for feature in adopted(directory).features] == list("abcd")


def test_without_an_onnx_form(save: Save) -> None:
    """What does not compile is served by scikit-learn, and the manifest says why."""
    manifest = adopted(save(LabelSpreading().fit(NAMED, Y), NAMED))
    assert manifest.runtime == Runtime.RUNTIME_SKLEARN
    assert manifest.parity.reason


def test_histogram_boosting(save: Save) -> None:
    """Its thresholds are rounded down to float32, so that its ONNX form agrees, and tell where its rows differ."""
    manifest = adopted(save(HistGradientBoostingClassifier(max_iter=3).fit(NAMED, Y), NAMED))
    assert manifest.runtime == Runtime.RUNTIME_ONNX
    assert {row.class_index for row in manifest.golden_rows} == {0, 1, 2}  # thresholds tell where rows differ


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (KMeans(2, n_init=1), "KMeans is neither a classifier nor a regressor"),
        (LinearSVC(), "LinearSVC has no predict_proba"),
        (MultiOutputClassifier(LogisticRegression(max_iter=500)), "several labels a row"),
        (Ridge(), "predicting .* rows of 4 features failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_models(save: Save, model: BaseEstimator, sentence: str) -> None:
    """Models of no single output, or without probabilities, are refused by what they are."""
    several = isinstance(model, MultiOutputClassifier | Ridge)
    target = np.column_stack([Y, Y]) if several else Y
    with pytest.raises(BundleError, match=sentence):
        adopted(save(model.fit(X, target)))


def test_untrusted_types(save: Save) -> None:
    """Types beyond the server's list are refused, whatever the artifact's MLmodel trusts."""
    directory = save(DecisionTreeClassifier().fit(X, Y))
    assert "does not trust: sklearn.tree._tree.Tree" in refusal(directory, trusted_types=[])


def test_columns_that_are_no_numbers(save: Save) -> None:
    """A column of text is refused by its name."""
    directory = save(LogisticRegression(max_iter=500).fit(NAMED, Y), NAMED)
    text = (directory / "MLmodel").read_text()
    (directory / "MLmodel").write_text(
        text.replace('{"type": "double", "name": "c"', '{"type": "string", "name": "c"')
    )
    assert "the column c of its signature is string" in refusal(directory)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("pickled_model: model.skops", "pickled_model: ../../etc/passwd", "which is not there"),
        ("pickled_model: model.skops", "pickled_model: gone.skops", "names the model file 'gone.skops'"),
        ("sklearn_version: ", "sklearn_version: 99.", "was trained with scikit-learn 99."),
        ("  sklearn:", "  keras:", "its MLflow flavors are keras, python_function"),
        ("flavors:", "flavors: [", "MLmodel cannot be read"),
    ],
)
def test_strange_descriptions(save: Save, old: str, new: str, sentence: str) -> None:
    """An MLmodel that is wrong or hostile is refused by what is wrong with it."""
    directory = save(LogisticRegression(max_iter=500).fit(X, Y))
    file = directory / "MLmodel"
    file.write_text(file.read_text().replace(old, new, 1))
    assert sentence in refusal(directory)


def test_broken_model_file(save: Save) -> None:
    """A model file that is none is refused with what the library says."""
    directory = save(LogisticRegression(max_iter=500).fit(X, Y))
    (directory / "model.skops").write_bytes(b"no model")
    assert "loading model.skops failed" in refusal(directory)


def test_example_of_something_else(save: Save) -> None:
    """An input example that does not fit is left aside: it is a hint."""
    directory = save(LogisticRegression(max_iter=500).fit(X, Y), X, input_example=X[:2])
    (directory / "input_example.json").write_text('{"inputs": "nonsense"}')
    assert len(adopted(directory).golden_rows) >= 16


@pytest.mark.slow
def test_command_is_deterministic(save: Save, tmp_path: Path) -> None:
    """Two processes make the same bytes of the same files, and answer with one line."""
    plain = save(DecisionTreeClassifier(random_state=0).fit(NAMED, Y), NAMED, input_example=NAMED.head(2))
    manifests = []
    for turn in range(2):
        copy = Path(shutil.copytree(plain, tmp_path / f"copy-{turn}"))
        order = {
            "directory": str(copy), "name": "iris", "run_id": "r", "metrics": {"accuracy": 0.5},
            "allow_pickle": False, "trusted_types": TRUSTED,
        }  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "training.adopt", str(os.getpid())],
            input=json.dumps(order), capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(turn + 1)},
        )  # fmt: skip
        assert ended.stdout == "{}\n"
        manifests.append((copy / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
