"""A server whose models come from a real MLflow registry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from inference.client import PredictionClient

# MLflow keeps too much state in a process to be imported into this one.
SEED = """
import hashlib, json, pathlib, sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
client.create_registered_model("iris")
for path in json.loads(sys.argv[2]):
    with mlflow.start_run() as run:
        mlflow.log_artifacts(path, "bundle")
    digest = hashlib.sha256(pathlib.Path(path, "manifest.json").read_bytes()).hexdigest()
    source = f"{run.info.artifact_uri}/bundle"
    client.create_model_version("iris", source, run.info.run_id, {"coalmine.digest": digest})
client.set_registered_model_alias("iris", "champion", "1")
"""


@pytest.fixture
def tracking_uri(make_bundle: object, tmp_path: Path) -> str:
    """A SQLite registry with two versions of iris, of which 1 is the champion."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    paths = json.dumps([str(make_bundle(seed=1)), str(make_bundle(seed=2))])
    subprocess.run(
        [sys.executable, "-c", SEED, uri, paths],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        check=True,
    )
    return uri


@pytest.mark.slow
def test_versions_come_and_go_by_uri(make_process: object, tracking_uri: str, tmp_path: Path) -> None:
    """The champion serves at start; a reload changes to a version, a wrong one changes nothing, a rollback returns."""
    process = make_process(
        MODEL_SOURCE="mlflow",
        MLFLOW_TRACKING_URI=tracking_uri,
        MODEL_CACHE_DIR=tmp_path / "cache",
        ADMIN_API_TOKEN="t",
    )
    ports = process.wait_for("listening")
    assert process.wait_for("model loaded", 60)["version"] == "1"
    process.wait_for("serving")
    with (
        httpx.Client(
            base_url=f"http://127.0.0.1:{ports['http_port']}", headers={"X-Admin-Token": "t"}, timeout=60
        ) as http,
        PredictionClient(f"127.0.0.1:{ports['grpc_port']}") as client,
    ):

        def serving() -> str:
            return client.predict([[5.1, 3.5, 1.4, 0.2]]).model_version

        assert serving() == "1"
        assert http.post("/admin/reload", json={"model_uri": "models:/iris/2"}).json()["outcome"] == "swapped"
        assert serving() == "2"
        missing = http.post("/admin/reload", json={"model_uri": "models:/iris/9"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
        assert serving() == "2"
        registry = http.get("/health").json()["registry"]
        assert registry["model_uri"] == "models:/iris/2"
        assert "no version 9" in registry["last_error"]
        assert http.post("/admin/rollback").json()["outcome"] == "rolled_back"
        assert serving() == "1"
