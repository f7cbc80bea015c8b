"""Real bundles of tiny models, and real registries that hold them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression

from tests.inference.artifacts.bundle_kit import Kit, SeededRegistry, digest_of, write_bundle
from tests.inference.artifacts.faulty_server import FaultyServer
from tests.inference.small_disks import small_disk_at

IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    with small_disk_at(place, "size=256k"):
        yield place


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    yield server
    server.close()


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four sound bundles, by what they are; tests copy before they change one."""
    root = tmp_path_factory.mktemp("bundles")
    forest = RandomForestClassifier(5, random_state=1).fit(*IRIS)
    boosting = HistGradientBoostingClassifier(max_iter=4).fit(*IRIS)
    line = LinearRegression().fit(*DIABETES)
    some, others = IRIS[0][::6], DIABETES[0][::90]  # few rows of iris tell two forests apart
    return {
        "forest": write_bundle(root / "forest", forest, some),
        "other forest": write_bundle(
            root / "other", RandomForestClassifier(6, random_state=2).fit(*IRIS), some
        ),
        "boosting": write_bundle(root / "boosting", boosting, some, onnx=False),
        "regression": write_bundle(root / "regression", line, others),
        "sklearn regression": write_bundle(root / "sklearn-regression", line, others, onnx=False),
    }


def seed_registry(tracking_uri: str, bundles: dict[str, Path], directory: Path) -> SeededRegistry:
    """Fill an empty registry, by a process of its own: MLflow keeps too much state to be imported here."""
    plain = directory / "plain"
    plain.mkdir()
    (plain / "MLmodel").write_text("flavors: {}\n")
    forest, other = bundles["forest"], bundles["other forest"]
    versions = [
        (str(forest), digest_of(forest)),
        (str(other), digest_of(other)),
        (str(forest), digest_of(other)),
        (str(forest), ""),
        (str(plain), ""),
    ]
    ended = subprocess.run(
        [sys.executable, "-c", _SEED, tracking_uri, json.dumps(versions)],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first_run, second_run = ended.stdout.split()[-2:]
    return SeededRegistry(tracking_uri, first_run, second_run, forest, other)


_SEED = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
client.create_registered_model("iris")
runs = []
for path, digest in json.loads(sys.argv[2]):
    with mlflow.start_run() as run:
        runs.append(run.info.run_id)
        model_id = None
        if len(runs) == 2:
            model = client.create_logged_model(run.info.experiment_id, "model", run.info.run_id)
            client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
            client.log_model_artifacts(model.model_id, path)
            client.finalize_logged_model(model.model_id, "READY")
            model_id = model.model_id
            source = f"models:/{model_id}"
        else:
            mlflow.log_artifacts(path, "bundle")
            source = f"{run.info.artifact_uri}/bundle"
    tags = {"coalmine.digest": digest} if digest else {}
    client.create_model_version("iris", source, run.info.run_id, tags, model_id=model_id)
client.set_registered_model_alias("iris", "champion", "1")
client.transition_model_version_stage("iris", "1", "Production")
print(*runs[:2])
"""


@pytest.fixture(scope="session")
def sqlite_registry(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SeededRegistry:
    """A registry in a SQLite file."""
    directory = tmp_path_factory.mktemp("sqlite")
    return seed_registry(f"sqlite:///{directory}/mlflow.db", bundles, directory)


@pytest.fixture(scope="session")
def server_registry(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeededRegistry]:
    """A registry behind a real `mlflow server` that serves the artifacts too."""
    directory = tmp_path_factory.mktemp("server")
    for _ in range(3):  # the port may be taken between choosing it and the start
        process, address = _start_server(directory)
        if _is_up(process, address):
            break
    else:
        pytest.fail(f"no mlflow server came up: {(directory / 'server.log').read_text()[-2000:]}")
    try:
        yield seed_registry(address, bundles, directory)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _start_server(directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{directory}/server.db", "--workers", "1"]
    command += ["--serve-artifacts", "--artifacts-destination", str(directory / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **quiet},
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{port}"


def _is_up(process: subprocess.Popen[bytes], address: str) -> bool:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{address}/health").is_success:
                return True
        except httpx.TransportError:
            time.sleep(0.2)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False
