"""The bundle: complete, readable by stock MLflow, and refused when a single byte differs."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.inference.v1.manifest_pb2 import FeatureType, GoldenRow, ModelManifest, Runtime, Task
from training import persist_reference_dataset
from training.bundling.bundle import Bundle, build_bundle, read_bundle, verify_bundle
from training.bundling.compile import OnnxModel
from training.bundling.manifest import manifest_from_json, message_to_json
from training.errors import BundleError, ConfigError, EstimatorError, StorageError
from training.fitting.fit import FittedModel


@pytest.fixture
def copy(iris_bundle: Bundle) -> Path:
    """A copy of the bundle that a test may break."""
    return Path(shutil.copytree(iris_bundle.directory, "copy"))


def test_manifest_says_what_a_server_must_know(iris_bundle: Bundle) -> None:
    """Name, task, features in order, classes in index order, runtime, lineage."""
    manifest = iris_bundle.manifest
    assert (manifest.schema_version, manifest.name) == (1, "iris")
    assert (manifest.task, manifest.runtime) == (Task.TASK_CLASSIFICATION, Runtime.RUNTIME_ONNX)
    assert [feature.name for feature in manifest.features][::3] == ["sepal_length", "petal_width"]
    assert {feature.type for feature in manifest.features} == {FeatureType.FEATURE_TYPE_FLOAT}
    assert list(manifest.classes) == ["setosa", "versicolor", "virginica"]
    lineage = manifest.lineage
    assert (lineage.data_source, lineage.seed, lineage.mlflow_run_id) == ("iris", 7, "")
    assert {"python", "scikit-learn", "skl2onnx", "skops"} <= set(lineage.library_versions)
    assert manifest.parity.passed
    assert manifest.parity.rows > 8000


def test_digests_cover_every_file(iris_bundle: Bundle) -> None:
    """The manifest lists all files but itself, sorted; its own SHA-256 is the digest of the bundle."""
    directory = iris_bundle.directory
    files = sorted(path.name for path in directory.iterdir() if path.name != "manifest.json")
    assert [entry.path for entry in iris_bundle.manifest.files] == files
    assert {"MLmodel", "model.skops", "model.onnx", "metrics.json", "reference.csv"} <= set(files)
    for entry in iris_bundle.manifest.files:
        content = (directory / entry.path).read_bytes()
        assert (entry.sha256, entry.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert iris_bundle.digest == hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()


def test_field_names_in_json_are_those_of_the_proto(iris_bundle: Bundle) -> None:
    """Other languages read the file by the names in manifest.proto; a zero is written out."""
    manifest = json.loads((iris_bundle.directory / "manifest.json").read_bytes())
    assert {"schema_version", "sklearn_file", "golden_rows"} <= manifest.keys()
    assert manifest["parity"]["mismatches"] == 0
    metrics = json.loads((iris_bundle.directory / "metrics.json").read_bytes())
    assert metrics["train_rows"] == 120
    assert metrics["accuracy"] >= 0.7


def test_golden_rows_meet_every_class_and_reproduce_in_onnx(iris_bundle: Bundle) -> None:
    """About sixteen rows; ONNX gives the same class index and probabilities within the bound."""
    golden = iris_bundle.manifest.golden_rows
    assert 15 <= len(golden) <= 20
    assert {row.class_index for row in golden} == {0, 1, 2}
    rows = np.asarray([row.features for row in golden], dtype=np.float32)
    label, shares = OnnxModel((iris_bundle.directory / "model.onnx").read_bytes()).run(rows)
    assert label.tolist() == [row.class_index for row in golden]
    assert np.abs(shares - [list(row.probabilities) for row in golden]).max() <= 1e-5


def test_golden_rows_tell_models_apart(fit: Callable[..., FittedModel], iris_bundle: Bundle) -> None:
    """At least half are the rows of the smallest margins, none a tie, so that another forest differs on them."""
    golden = iris_bundle.manifest.golden_rows
    shares = np.asarray([row.probabilities for row in golden])
    two = np.sort(shares, axis=1)[:, -2:]
    margins = np.sort(two[:, 1] - two[:, 0])
    model = fit()
    all_two = np.sort(model.probabilities(model.inputs()), axis=1)[:, -2:]
    half = (len(golden) + 1) // 2
    assert margins[:half] == pytest.approx(np.sort(all_two[:, 1] - all_two[:, 0])[:half])
    assert margins[0] > 2e-4
    other = fit(estimator={"parameters": {"random_state": 8}})
    found = other.probabilities(other.inputs(np.asarray([row.features for row in golden], dtype=np.float32)))
    assert (np.abs(found - shares).max(axis=1) > 1e-4).sum() >= half


def test_golden_rows_avoid_ties_and_are_always_the_same(fit: Callable[..., FittedModel]) -> None:
    """With two trees many rows are tied, and rounding could choose the class there: they are left out."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.random(300), "y": np.where(random.random(300) < 0.5, "u", "v")})
    frame.to_csv("noise.csv", index=False)
    model = fit(dataset={"source": "noise.csv", "target": "y"}, estimator={"parameters": {"n_estimators": 2}})
    shares = model.probabilities(model.inputs())
    ties = set(np.flatnonzero(shares[:, 0] == shares[:, 1]).tolist())
    assert len(ties) > 20
    Path("1").mkdir()
    Path("2").mkdir()
    first = build_bundle(Path("1"), model, name="noise", seed=7).manifest.golden_rows
    assert build_bundle(Path("2"), model, name="noise", seed=7).manifest.golden_rows == first
    features = frame["a"].tolist()
    tied = [row for row in first if features.index(row.features[0]) in ties]
    assert len(tied) <= len(first) // 2  # those that stand for their class, and none of the least sure


def test_reference_has_every_validated_row(iris_bundle: Bundle) -> None:
    """feature_0 to feature_3, prediction and target as labels, and the confidence of each prediction: 150 rows."""
    reference = pd.read_csv(iris_bundle.directory / "reference.csv")
    names = [*(f"feature_{i}" for i in range(4)), "prediction", "target", "confidence"]
    assert list(reference.columns) == names
    assert len(reference) == 150
    assert set(reference["prediction"]) == set(reference["target"]) == set(iris_bundle.manifest.classes)


def test_stock_mlflow_predicts_labels(iris_bundle: Bundle) -> None:
    """mlflow.pyfunc takes a DataFrame by the signature and gives the original labels."""
    model = mlflow.pyfunc.load_model(str(iris_bundle.directory))
    example = json.loads((iris_bundle.directory / "input_example.json").read_bytes())
    frame = pd.DataFrame(example["data"], columns=example["columns"])
    assert list(model.predict(frame)) == ["setosa", "setosa"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_law_any_changed_byte_is_detected(copy: Path, iris_bundle: Bundle, data: st.DataObject) -> None:
    """Whatever byte of whatever listed file changes, the file is named and the bundle refused."""
    name = data.draw(st.sampled_from([entry.path for entry in iris_bundle.manifest.files]))
    original = (copy / name).read_bytes()
    place = data.draw(st.integers(min_value=0, max_value=len(original) - 1))
    changed = bytearray(original)
    changed[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    try:
        (copy / name).write_bytes(changed)
        with pytest.raises(BundleError, match=f"{name} differs from its SHA-256"):
            verify_bundle(copy)
    finally:
        (copy / name).write_bytes(original)
    assert read_bundle(copy).digest == iris_bundle.digest


def test_missing_and_added_files_are_refused(copy: Path) -> None:
    """A file too few or too many is named; only what MLflow adds to a download is ignored."""
    (copy / "registered_model_meta").write_text("model_name: iris")
    verify_bundle(copy)
    (copy / "extra.bin").write_bytes(b"1")
    with pytest.raises(BundleError, match=r"extra\.bin is not in the manifest"):
        verify_bundle(copy)
    (copy / "extra.bin").unlink()
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        verify_bundle(copy)


def test_manifest_itself_is_checked(copy: Path) -> None:
    """No manifest, no JSON, another schema version, other golden rows: each is refused with its reason."""
    path = copy / "manifest.json"
    manifest = manifest_from_json(path.read_bytes(), "copy")
    manifest.golden_rows[0].probabilities[0] += 0.5
    path.write_bytes(message_to_json(manifest))
    with pytest.raises(BundleError, match=r"model\.skops does not reproduce the golden rows"):
        verify_bundle(copy)
    manifest.schema_version = 2
    path.write_bytes(message_to_json(manifest))
    with pytest.raises(BundleError, match="schema version 2, and 1 is known"):
        verify_bundle(copy)
    path.write_bytes(b"{")
    with pytest.raises(BundleError, match="not a manifest"):
        verify_bundle(copy)
    path.unlink()
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        verify_bundle(copy)


golden_rows = st.builds(
    GoldenRow,
    features=st.lists(st.floats(allow_nan=False), max_size=3),
    class_index=st.none() | st.integers(min_value=0, max_value=2**31 - 1),
    probabilities=st.lists(st.floats(min_value=0, max_value=1), max_size=3),
    value=st.none() | st.floats(allow_nan=False),
)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    classes=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    rows=st.lists(golden_rows, max_size=3),
)
def test_law_manifest_round_trips(name: str, classes: list[str], rows: list[GoldenRow]) -> None:
    """Any text and any number, infinities included, come back the same from the file."""
    manifest = ModelManifest(schema_version=1, name=name, classes=classes, golden_rows=rows)
    assert manifest_from_json(message_to_json(manifest), "b") == manifest


def test_failed_parity_leaves_onnx_out_and_says_why(
    fit: Callable[..., FittedModel], iris_model: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server then runs scikit-learn; the reason is one sentence in the manifest."""
    other = fit(estimator={"parameters": {"n_estimators": 3}})
    # The one fake here: a converter that converts the wrong model, since a right one never fails for a forest.
    from training.bundling import (
        bundle,
        compile,  # noqa: A004
    )

    monkeypatch.setattr(bundle, "compile_to_onnx", lambda _: compile.compile_to_onnx(other))
    Path("b").mkdir()
    manifest = build_bundle(Path("b"), iris_model, name="iris", seed=7).manifest
    assert manifest.runtime == Runtime.RUNTIME_SKLEARN
    assert not manifest.parity.passed
    assert "compared rows got another label" in manifest.parity.reason
    assert not Path("b/model.onnx").exists()


def test_regression_bundle_has_values(fit: Callable[..., FittedModel]) -> None:
    """A regressor's bundle has no classes, golden values, r2, and reproduces in ONNX."""
    rows = pd.DataFrame({"a": np.arange(40) / 7, "n": np.arange(40) % 5})
    rows.assign(y=rows["a"] * 2 + rows["n"]).to_csv("r.csv", index=False)
    model = fit(
        dataset={"source": "r.csv", "target": "y"},
        estimator={"class": "sklearn.ensemble.RandomForestRegressor"},
    )
    Path("b").mkdir()
    manifest = build_bundle(Path("b"), model, name="r", seed=7).manifest
    assert (manifest.task, manifest.runtime) == (Task.TASK_REGRESSION, Runtime.RUNTIME_ONNX)
    assert not manifest.classes
    assert [feature.type for feature in manifest.features] == [
        FeatureType.FEATURE_TYPE_FLOAT,
        FeatureType.FEATURE_TYPE_INTEGER,
    ]
    assert all(row.HasField("value") and not row.HasField("class_index") for row in manifest.golden_rows)
    values, predicted = [row.value for row in manifest.golden_rows], model.predict(model.inputs())
    assert (min(values), max(values)) == (predicted.min(), predicted.max())


def test_type_that_skops_does_not_trust_is_refused(fit: Callable[..., FittedModel]) -> None:
    """What a server would refuse to load is never bundled."""
    model = fit(estimator={"class": "sklearn.neighbors.KNeighborsClassifier"})
    Path("b").mkdir()
    with pytest.raises(EstimatorError, match=r"not trusted when a model is loaded: .*KDTree"):
        build_bundle(Path("b"), model, name="iris", seed=7)


def test_reference_dataset_is_public_and_checked() -> None:
    """persist_reference_dataset writes arrays as well, confidences as float32, and refuses different lengths."""
    path = persist_reference_dataset("deep/r.csv", np.array([[0.1, 2.0], [3.0, 4.0]]), ["u", "v"], ["u", "u"])
    assert path.read_text() == "feature_0,feature_1,prediction,target\n0.1,2.0,u,u\n3.0,4.0,v,u\n"
    path = persist_reference_dataset("c.csv", np.zeros((2, 1)), ["u", "v"], ["u", "u"], [0.1 + 0.2, 1.0])
    assert path.read_text() == "feature_0,prediction,target,confidence\n0.0,u,u,0.3\n0.0,v,u,1.0\n"
    with pytest.raises(ConfigError, match="features have 2 rows, predictions 2, targets 2, confidences 1"):
        persist_reference_dataset("r.csv", np.zeros((2, 1)), ["u", "v"], ["u", "u"], [1.0])
    with pytest.raises(ConfigError, match="features have 2 rows, predictions 1, targets 2"):
        persist_reference_dataset("r.csv", np.zeros((2, 1)), ["u"], ["u", "u"])
    with pytest.raises(StorageError, match="cannot be written"):
        persist_reference_dataset("/proc/nowhere/r.csv", np.zeros((1, 1)), ["u"], ["u"])
