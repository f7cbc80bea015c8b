"""The worked examples, from the raw file to a prediction by a real server process."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from inference.client import InvalidRequestError, PredictionClient
from protos.inference.v1.manifest_pb2 import Runtime
from tests.training.conftest import ROOT, _run_module
from training.bundling.bundle import verify_bundle

#: A start takes seconds; what has not started by then is stuck.
_START_SECONDS = 90.0

ROWS: dict[str, list[list[Any]]] = {
    "iris": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]],
    "churn": [
        [70, 20.5, 0, "two years", "none", "card", "north"],
        [1, None, 6, "month to month", "fibre", None, "the moon"],
    ],
    "diabetes": [[0.038, 0.05, 0.061, 0.021, -0.044, -0.034, -0.043, -0.002, 0.019, -0.017]],
}


@contextmanager
def served(uri: str, directory: Path) -> Iterator[int]:
    """Run `python -m inference` on the registry in `directory` and yield its gRPC port."""
    environment = {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(directory / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{directory / 'mlflow.db'}", "MODEL_URI": uri,
        "MODEL_CACHE_DIR": str(directory / "cache"), "DRAIN_DELAY_SECONDS": "0",
        "GRPC_PORT": "0", "HTTP_PORT": "0", "GRPC_HOST": "127.0.0.1", "HTTP_HOST": "127.0.0.1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "inference"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    )
    stuck = threading.Timer(_START_SECONDS, process.kill)
    stuck.start()
    try:
        assert process.stdout is not None
        lines: list[dict[str, Any]] = []
        for text in process.stdout:
            lines.append(json.loads(text))
            if lines[-1]["message"] == "serving":
                break
        (port,) = [line["grpc_port"] for line in lines if line["message"] == "listening"] or [None]
        assert port is not None, lines
        assert lines[-1]["message"] == "serving", lines
        yield port
    finally:
        stuck.cancel()
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
def test_example_goes_from_its_table_to_a_served_prediction(name: str, tmp_path: Path) -> None:
    """Trained by the real command with its own configuration, registered, and served as scikit-learn predicts."""
    example = ROOT / "docs" / "examples" / name
    shutil.copytree(example, tmp_path / "docs" / "examples" / name)
    config = f"docs/examples/{name}/coalmine.toml"
    trained = _run_module("training.train", "--config", config, "--json", "--bundle-dir", "out", cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    result = json.loads(trained.stdout)
    assert result["model_uri"] == f"models:/{name}/1"
    assert "cross_validation_mean" in result["metrics"]
    bundle = verify_bundle(tmp_path / "out")
    assert bundle.manifest.runtime == Runtime.RUNTIME_ONNX, bundle.manifest.parity.reason
    assert len(bundle.manifest.lineage.config_sha256) == 64

    frame = pd.DataFrame(ROWS[name], columns=[feature.name for feature in bundle.manifest.features])
    model = mlflow.sklearn.load_model(str(tmp_path / "out"))
    with served(result["model_uri"], tmp_path) as port, PredictionClient(f"127.0.0.1:{port}") as client:
        answer = client.predict(ROWS[name])
        if bundle.manifest.classes:
            assert list(answer.labels) == model.predict(frame).tolist()
        else:
            assert list(answer.values) == pytest.approx(model.predict(frame).tolist(), rel=1e-4)
        if name == "churn":
            with pytest.raises(InvalidRequestError, match="internet"):
                client.predict([[1, 50.0, 0, "one year", "carrier pigeon", "card", "north"]])

    run = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = run.search_runs([run.get_experiment_by_name(name).experiment_id])
    stored = {entry.path for entry in run.list_artifacts(found.info.run_id, "evaluation")}
    assert {"evaluation/feature_importance.json", "evaluation/feature_importance.png"} <= stored


@pytest.mark.slow
def test_churn_table_is_what_its_generator_makes(tmp_path: Path) -> None:
    """The committed file comes from the committed program, and stays below 200 kB."""
    source = ROOT / "docs" / "examples" / "churn"
    shutil.copy(source / "make_table.py", tmp_path)
    subprocess.run([sys.executable, "make_table.py"], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "churn.csv").read_bytes() == (source / "churn.csv").read_bytes()
    assert (source / "churn.csv").stat().st_size < 200_000


@pytest.mark.slow
def test_the_same_training_twice_is_the_same_model(tmp_path: Path) -> None:
    """Other processes, other hash seeds, another directory: the same digest of model.onnx, the same metrics."""
    example = ROOT / "docs" / "examples" / "churn"
    found = []
    for turn in ("1", "2"):
        directory = tmp_path / turn
        shutil.copytree(example, directory / "docs" / "examples" / "churn")
        done = _run_module(
            "training.train", "--config", "docs/examples/churn/coalmine.toml", "--json",
            "--no-register", "--bundle-dir", "out", cwd=directory, PYTHONHASHSEED=turn,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        files = {file.path: file.sha256 for file in verify_bundle(directory / "out").manifest.files}
        found.append((files["model.onnx"], files["reference.csv"], json.loads(done.stdout)["metrics"]))
    assert found[0] == found[1]


@pytest.mark.slow
def test_champion_is_compared_with_on_the_way(tmp_path: Path) -> None:
    """The second training meets the first: told, stored beside the run, and asked for by the gate."""
    (tmp_path / "coalmine.toml").write_text('[gates]\nchampion = "better"\naccuracy = 0.5\n')
    first = _run_module("training.train", "--alias", "champion", "--json", cwd=tmp_path)
    assert (first.code, json.loads(first.stdout)["comparison"]) == (0, None)
    same = _run_module("training.train", "--json", cwd=tmp_path)
    assert (same.code, same.stdout) == (1, "")
    assert "champion: NO_DIFFERENCE is not better" in same.stderr
    (tmp_path / "coalmine.toml").write_text('[gates]\nchampion = "not_worse"\n')
    third = _run_module("training.train", "--json", cwd=tmp_path)
    assert third.code == 0, third.stderr
    comparison = json.loads(third.stdout)["comparison"]
    assert (comparison["verdict"], comparison["champion"], comparison["rows"]) == ("NO_DIFFERENCE", 1, 30)
    assert json.loads(third.stdout)["model_uri"] == "models:/iris/2"
    alone = _run_module("training.train", "--no-register", "--bundle-dir", "out", cwd=tmp_path)
    assert alone.code == 2
    assert "without a registry there is no champion" in alone.stderr
    assert os.path.exists(tmp_path / "mlflow.db")
