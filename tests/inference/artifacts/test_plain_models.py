"""Models registered by plain `mlflow.sklearn.log_model` are served as well: compiled and checked when fetched."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from inference.artifacts import (
    Cache,
    FetchedModel,
    Limits,
    MlflowRepository,
    Trial,
    check_golden_rows,
    load_predictor,
)
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_FLOAT, RUNTIME_ONNX, TASK_REGRESSION
from tests.inference.artifacts.faulty_server import fail

pytestmark = pytest.mark.slow

_SEED = """
import pickle, shutil, sys, warnings
warnings.simplefilter("ignore")
import mlflow, numpy as np
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
mlflow.set_tracking_uri(sys.argv[1])
table, labels = load_iris(return_X_y=True, as_frame=True)
rows, names = table.to_numpy(), np.array(["setosa", "versicolor", "virginica"])
other, values = load_diabetes(return_X_y=True)
client = mlflow.MlflowClient()
def log(name, model, inputs=None, example=None, **options):
    with mlflow.start_run():
        mlflow.log_metrics({"accuracy": 0.9, "something": 1.0})
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name=name, input_example=example,
            signature=None if inputs is None else infer_signature(inputs, model.predict(inputs)),
            pip_requirements=["scikit-learn"], skops_trusted_types=["sklearn.tree._tree.Tree"], **options,
        )
forest = RandomForestClassifier(8, random_state=0)
log("whole", forest.fit(table, labels), table, table.head(3))
log("texts", forest.fit(rows, names[labels]), rows)
log("values", RandomForestRegressor(8, random_state=0).fit(other, values), other)
log("pipeline", make_pipeline(StandardScaler(), LogisticRegression()).fit(table, labels), table)
line = LogisticRegression(max_iter=500).fit(rows, labels)
log("unsigned", line)
log("pickle", line, serialization_format="pickle")
class Bomb:
    def __reduce__(self):
        return (np.ones, (1 << 33,))
mlflow.sklearn.save_model(line, "bomb", serialization_format="pickle", pip_requirements=["scikit-learn"])
open("bomb/model.pkl", "wb").write(pickle.dumps(Bomb()))
with mlflow.start_run() as run:
    mlflow.log_artifacts("bomb", "model")
client.create_registered_model("bomb")
client.create_model_version("bomb", f"{run.info.artifact_uri}/model", run.info.run_id)
client.set_registered_model_alias("pipeline", "champion", "1")
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry that somebody filled who has never heard of manifests."""
    directory = tmp_path_factory.mktemp("plain")
    uri = f"sqlite:///{directory}/mlflow.db"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    ended = subprocess.run(
        [sys.executable, "-c", _SEED, uri],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return uri


def repository(uri: str, registry: str, cache_dir: Path, **options: object) -> MlflowRepository:
    trial = Trial(Cache(cache_dir), **options)
    return MlflowRepository(uri, registry, cache_dir, trial=trial)


def fetch(name: str, registry: str, cache_dir: Path, **options: object) -> FetchedModel:
    """Fetch version 1 and see that it does what its manifest says."""
    model = repository(f"models:/{name}/1", registry, cache_dir, **options).fetch()
    assert (model.name, model.version, model.bundle.manifest.name) == (name, "1", name)
    check_golden_rows(model.bundle, load_predictor(model.bundle))
    assert model.bundle.manifest.runtime == RUNTIME_ONNX
    return model


def test_whole_labels(registry: str, cache_dir: Path) -> None:
    """A classifier of whole numbers: names from the signature, golden rows from the example, metrics of its run."""
    bundle = fetch("whole", registry, cache_dir).bundle
    manifest = bundle.manifest
    assert manifest.features[0].name == "sepal length (cm)"
    assert {feature.type for feature in manifest.features} == {FEATURE_TYPE_FLOAT}
    assert list(manifest.classes) == ["0", "1", "2"]
    assert [5.1, 3.5, 1.4, 0.2] in [np.round(row.features, 4).tolist() for row in manifest.golden_rows]
    assert {row.class_index for row in manifest.golden_rows} == {0, 1, 2}
    assert manifest.parity.rows > 8000
    assert len(manifest.lineage.mlflow_run_id) == 32
    assert manifest.lineage.git_commit == ""
    assert manifest.lineage.library_versions["mlflow"].startswith("3.")
    assert bundle.metrics is not None
    assert (bundle.metrics.accuracy, bundle.metrics.HasField("log_loss")) == (0.9, False)


def test_text_labels(registry: str, cache_dir: Path) -> None:
    """A classifier of text with a tensor for its signature: labels as they are, features by number."""
    manifest = fetch("texts", registry, cache_dir).bundle.manifest
    assert list(manifest.classes) == ["setosa", "versicolor", "virginica"]
    assert [feature.name for feature in manifest.features] == [f"feature_{n}" for n in range(4)]


def test_regression(registry: str, cache_dir: Path) -> None:
    """A regressor: an accuracy that its run logged is none of it."""
    bundle = fetch("values", registry, cache_dir).bundle
    assert (bundle.manifest.task, list(bundle.manifest.classes)) == (TASK_REGRESSION, [])
    assert len({round(row.value) for row in bundle.manifest.golden_rows}) > 5
    assert bundle.metrics is None


def test_unsigned(registry: str, cache_dir: Path) -> None:
    """Without a signature the estimator tells how many features there are."""
    manifest = fetch("unsigned", registry, cache_dir).bundle.manifest
    assert [feature.name for feature in manifest.features] == [f"feature_{n}" for n in range(4)]


def test_same_version_same_bundle(registry: str, cache_dir: Path, tmp_path: Path) -> None:
    """Adopted twice by two caches, a pipeline is one bundle; by one cache, it is adopted once for all its URIs."""
    first = fetch("pipeline", registry, cache_dir)
    assert fetch("pipeline", registry, tmp_path / "other").bundle.digest == first.bundle.digest
    begin = os.times().children_user
    again = repository("models:/pipeline@champion", registry, cache_dir).fetch()
    assert again.bundle.digest == first.bundle.digest
    assert os.times().children_user - begin < 4  # the library reads the registry, nothing is compiled
    assert len(list((cache_dir / "bundles").iterdir())) == 1


def test_pickle(registry: str, cache_dir: Path) -> None:
    """A pickle is refused with the variable that permits it, and served when permitted."""
    with pytest.raises(
        BundleError, match=r"pickle version 1 is refused: model\.pkl is a pickle.*MODEL_ALLOW_PICKLE=true"
    ):
        fetch("pickle", registry, cache_dir)
    assert not list(cache_dir.glob("bundles/*"))
    assert not list(cache_dir.glob("tmp-*"))
    fetch("pickle", registry, cache_dir, allow_pickle=True)
    with capture_logs() as logs:
        fetch("pickle", registry, cache_dir, allow_pickle=True)
    assert [line["event"] for line in logs] == ["model served from cache"]


def test_bomb(registry: str, cache_dir: Path) -> None:
    """A permitted pickle that allocates without end meets the limit of memory while it is compiled."""
    error = fail(repository("models:/bomb/1", registry, cache_dir, allow_pickle=True))
    assert isinstance(error, BundleError)
    assert "needed more than 2048 MiB" in error.reason
    small = Limits(memory_bytes=1 << 30)
    assert "1024 MiB" in str(
        fail(repository("models:/bomb/1", registry, cache_dir, allow_pickle=True, limits=small))
    )


def test_nobody_can_sign_it(registry: str, cache_dir: Path, tmp_path: Path) -> None:
    """Where signatures are asked for, a plain model is refused: there is nothing that somebody signed."""
    asking = MlflowRepository("models:/whole/1", registry, cache_dir, public_key_file=tmp_path / "key.pub")
    error = fail(asking)
    assert isinstance(error, BundleError)
    assert "MODEL_SIGNATURE_PUBLIC_KEY_FILE asks for a signature" in error.reason


def test_without_training(
    registry: str, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the libraries of training are missing, the refusal says what to install."""
    (tmp_path / "skl2onnx.py").write_text("raise ModuleNotFoundError(\"No module named 'skl2onnx'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = fail(repository("models:/whole/1", registry, cache_dir))
    assert isinstance(error, BundleError)
    assert (
        "registered without a manifest.json and training (scikit-learn, skl2onnx) is not installed"
        in error.reason
    )
    assert "extra `training`" in error.remedy
