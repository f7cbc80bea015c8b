"""Registering: real MLflow on SQLite, the version last, byte for byte what was verified."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
import pytest

from training import train
from training.bundling.bundle import read_bundle, verify_bundle
from training.configuration.config import load_config
from training.errors import ExitCode, RegistryError
from training.pipeline import run_training
from training.registering.database import _put_in_place, prepare_sqlite
from training.registering.registry import RegisteredVersion, Registry
from training.report import Progress

pytestmark = pytest.mark.slow

Registered = Any  # conftest.Command, which no test module can import


def test_last_line_is_the_model_uri(registered: Registered) -> None:
    """Standard output is one line; the same line is in the file, and the step's outputs are appended."""
    assert registered.code == 0, registered.stderr
    assert registered.stdout == "MODEL_URI=models:/iris/1\n"
    assert (registered.directory / "uri.env").read_text() == registered.stdout
    outputs = dict(line.split("=") for line in (registered.directory / "step").read_text().splitlines())
    assert outputs["model_uri"] == "models:/iris/1"
    assert float(outputs["accuracy"]) >= 0.7
    assert len(outputs["digest"]) == 64


def test_standard_error_is_ours_alone(registered: Registered) -> None:
    """The default registry is announced, every step is shown, and no library chatters."""
    lines = registered.stderr.splitlines()
    assert lines[0].startswith("note: MLFLOW_TRACKING_URI is not set; using sqlite:///mlflow.db")
    for line in lines[1:]:
        assert line.strip().endswith(line.split("  ", 1)[1].strip())
        assert " s  " in line or "gate: accuracy" in line, line
    assert "fit RandomForestClassifier on 120 rows, hold out 30" in registered.stderr
    assert not {"WARNING", "INFO", "alembic"} & set(registered.stderr.split())


def test_version_is_tagged_and_aliased(registry: mlflow.MlflowClient, registered: Registered) -> None:
    """The digest, the gate and the accuracy are tags; the alias points at the number."""
    version = registry.get_model_version_by_alias("iris", "champion")
    outputs = dict(line.split("=") for line in (registered.directory / "step").read_text().splitlines())
    assert (int(version.version), version.status) == (1, "READY")
    assert version.tags["coalmine.digest"] == outputs["digest"]
    assert version.tags["coalmine.gate"] == "passed"
    assert version.tags["coalmine.accuracy"] == outputs["accuracy"]


def test_run_has_parameters_metrics_and_the_model(registry: mlflow.MlflowClient) -> None:
    """One finished run in the experiment of the model's name, with the logged model as output."""
    run = registry.get_run(registry.get_model_version("iris", "1").run_id)
    assert registry.get_experiment(run.info.experiment_id).name == "iris"
    assert run.info.status == "FINISHED"
    assert run.data.params["estimator"] == "sklearn.ensemble.RandomForestClassifier"
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["accuracy"] >= 0.7
    assert len(run.outputs.model_outputs) == 1


def test_downloaded_version_is_the_verified_bundle(registry: mlflow.MlflowClient, tmp_path: Path) -> None:
    """What stock MLflow downloads has the registered digest, and names its run and model."""
    directory = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/iris/1", dst_path=str(tmp_path / "d")
    )
    bundle = verify_bundle(Path(directory))
    version = registry.get_model_version("iris", "1")
    assert bundle.digest == version.tags["coalmine.digest"]
    assert bundle.manifest.lineage.mlflow_run_id == version.run_id
    described = mlflow.models.Model.load(directory)
    assert (described.run_id, f"models:/{described.model_id}") == (version.run_id, version.source)


def test_stock_clients_load_the_version(registry: mlflow.MlflowClient) -> None:
    """mlflow.sklearn and mlflow.pyfunc load it by number and alias, and it predicts labels."""
    frame = pd.DataFrame(
        [[5.1, 3.5, 1.4, 0.2]], columns=["sepal_length", "sepal_width", "petal_length", "petal_width"]
    )
    assert mlflow.sklearn.load_model("models:/iris/1").predict(frame).tolist() == ["setosa"]
    assert list(mlflow.pyfunc.load_model("models:/iris@champion").predict(frame)) == ["setosa"]


def test_refused_model_is_not_registered(
    registry: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the gate: exit 1, one sentence, no run and no version, and an empty standard output."""
    Path("strict.toml").write_text("[gates]\naccuracy = 1.0\n[split]\nseed = 1\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    runs = len(registry.search_runs(["1"]))
    weak = ["--param", "n_estimators=1", "--param", "max_depth=1"]
    assert train.main(["--config", "strict.toml", *weak]) == ExitCode.REFUSED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "FAIL  gate: accuracy" in shown.err
    assert "the model iris is refused and nothing was registered: accuracy" in shown.err
    assert [v.version for v in registry.search_model_versions("name='iris'")] == [1]
    assert len(registry.search_runs(["1"])) == runs


def test_the_registry_that_is_asked_for_is_used(registry: mlflow.MlflowClient, tmp_path: Path) -> None:
    """An explicit address counts, whatever MLflow's own default is at the time; bundle and version agree."""
    uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'never.db'}")
    config = load_config(
        None, {"model": {"name": "explicit"}, "estimator": {"parameters": {"n_estimators": 3}}}
    )
    outcome = run_training(
        config, tracking_uri=uri, bundle_dir=Path("out"), alias=None, progress=Progress(quiet=True)
    )
    assert outcome.model_uri == "models:/explicit/1"
    assert not (tmp_path / "never.db").exists()
    assert registry.get_model_version("explicit", "1").tags["coalmine.digest"] == outcome.digest
    assert read_bundle(Path("out")).digest == outcome.digest


def test_version_without_a_gate_says_so(registry: mlflow.MlflowClient) -> None:
    """A regressor without an r2 gate was refused nothing: its tag is `none`, not `passed`."""
    pd.DataFrame({"a": range(40), "y": range(40)}).to_csv("line.csv", index=False)
    config = load_config(
        None,
        {
            "dataset": {"source": "line.csv", "target": "y"},
            "estimator": {"class": "sklearn.linear_model.LinearRegression"},
        },
    )
    run_training(
        config,
        tracking_uri=mlflow.get_tracking_uri(),
        bundle_dir=None,
        alias=None,
        progress=Progress(quiet=True),
    )
    assert registry.get_model_version("line", "1").tags["coalmine.gate"] == "none"


def test_version_is_told_before_its_alias_moves(
    registry: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the registry refuses the alias: MODEL_URI stands on standard output, exit 4 names version and alias."""
    uri = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON registered_model_aliases WHEN NEW.name = 'refused' "
        "BEGIN SELECT RAISE(ABORT, 'no alias today'); END"
    )
    connection.close()
    arguments = ["--quiet", "--param", "n_estimators=3", "--model-name", "refused", "--alias", "challenger"]
    assert train.main(arguments) == ExitCode.INFRASTRUCTURE
    shown = capsys.readouterr()
    assert shown.out == "MODEL_URI=models:/refused/1\n"
    assert "models:/refused/1 is registered, but the alias challenger was not set" in shown.err
    assert registry.get_model_version("refused", "1").status == "READY"


@pytest.mark.parametrize(
    ("call", "stdout", "sentence"),
    [
        ("create_registered_model", "", "interrupted; nothing was registered"),
        (
            "create_model_version",
            "",
            "interrupted; the registry was making a version of {name}, and it may exist by now",
        ),
        (
            "set_registered_model_alias",
            "MODEL_URI=models:/{name}/1\n",
            "interrupted; models:/{name}/1 is registered, and the alias challenger points at it or is unchanged",
        ),
    ],
)
def test_interrupt_says_what_was_registered(
    registry: mlflow.MlflowClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    stdout: str,
    sentence: str,
) -> None:
    """Nothing, perhaps something, or a version by its number: Ctrl-C is told the truth at any moment."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt  # a real signal would not come within this very call

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    monkeypatch.setattr(mlflow.MlflowClient, call, interrupted)
    name = f"interrupted-{call}"
    arguments = ["--quiet", "--param", "n_estimators=3", "--model-name", name, "--alias", "challenger"]
    assert train.main(arguments) == 130
    shown = capsys.readouterr()
    assert shown.out == stdout.format(name=name)
    assert shown.err.splitlines()[-1] == "training.train: " + sentence.format(name=name)
    assert len(registry.search_model_versions(f"name='{name}'")) == bool(stdout)


def test_alias_that_cannot_be_set_leaves_the_version(registry: mlflow.MlflowClient) -> None:
    """The error names the version that exists, so that nobody trains again for an alias."""
    with pytest.raises(
        RegistryError, match="models:/iris/99 is registered, but the alias champion was not set"
    ):
        Registry(mlflow.get_tracking_uri()).set_alias(RegisteredVersion("iris", 99), "champion", expect=1)


def test_alias_that_moved_during_the_training_is_not_overwritten(registry: mlflow.MlflowClient) -> None:
    """Who expects what it read before an hour of training is refused, told who moved it and how to go on."""
    here = Registry(mlflow.get_tracking_uri())
    registry.create_registered_model("moved")
    for _ in range(3):
        registry.create_model_version("moved", source=str(Path.cwd()))
    here.set_alias(RegisteredVersion("moved", 1), "champion", expect=here.alias("moved", "champion"))
    before = here.alias("moved", "champion")
    here.set_alias(RegisteredVersion("moved", 2), "champion", expect=before)
    sentence = (
        r"models:/moved/3 is registered.*is at version 2: .*training registered models:/moved/2"
        r".*aliases move champion 3"
    )
    with pytest.raises(RegistryError, match=sentence):
        here.set_alias(RegisteredVersion("moved", 3), "champion", expect=before)
    assert (here.alias("moved", "champion"), here.alias("moved", "previous")) == (2, 1)
    assert here.alias("never", "champion") is None


def test_failure_while_recording_marks_the_run_failed(registry: mlflow.MlflowClient) -> None:
    """What went wrong in between leaves a run that says so, and no version."""
    with (
        pytest.raises(RuntimeError, match="in between"),
        Registry(mlflow.get_tracking_uri()).recording("broken", {"seed": 1}) as recording,
    ):
        raise RuntimeError("in between")
    assert registry.get_run(recording.run_id).info.status == "FAILED"
    assert registry.get_logged_model(recording.model_id).status == "FAILED"
    assert registry.search_model_versions("name='broken'") == []


def test_without_registering_no_tracking_is_touched(run: Callable[..., Registered], tmp_path: Path) -> None:
    """--no-register leaves the bundle and nothing else, whatever MLFLOW_TRACKING_URI says."""
    arguments = ["--no-register", "--bundle-dir", "out", "--quiet"]
    done = run("training.train", *arguments, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert (done.code, done.stdout, done.stderr) == (0, "MODEL_PATH=out\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert read_bundle(tmp_path / "out").manifest.lineage.mlflow_run_id == ""


def test_unreachable_registry_ends_soon_with_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens: exit 4 within seconds, before the fit, without the credentials in the address."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    start = time.monotonic()
    assert train.main([]) == ExitCode.INFRASTRUCTURE
    assert time.monotonic() - start < 20
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "registry at http://127.0.0.1:1 cannot be used: it does not answer" in shown.err
    assert "Connection refused" in shown.err
    assert "secret" not in shown.err
    assert " fit " not in shown.err


def test_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    """MLflow would retry for minutes; the sentence says what to do."""
    (tmp_path / "x.db").write_text("garbage")
    with pytest.raises(RegistryError, match="not a database; move the file away"):
        Registry(f"sqlite:///{tmp_path / 'x.db'}")


def test_database_is_put_in_place_whole(tmp_path: Path) -> None:
    """The database appears with all its tables and nothing beside it; an existing one is left alone."""
    path = tmp_path / "deep" / "mlflow.db"
    prepare_sqlite(f"sqlite:///{path}")
    content = path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["mlflow.db"]
    connection = sqlite3.connect(path)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert {"model_versions", "alembic_version"} <= tables
    prepare_sqlite(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_database_that_one_filled_is_never_replaced(tmp_path: Path) -> None:
    """Eight find the same empty file and put theirs in its place: the first one stays, for all of them."""
    starts = threading.Barrier(8)

    def put(number: int, path: Path) -> str:
        aside = path.with_suffix(f".{number}")
        aside.write_text(str(number))
        starts.wait()
        _put_in_place(aside, path)
        return path.read_text()

    with ThreadPoolExecutor(8) as pool:
        for turn in range(50):
            path = tmp_path / str(turn) / "mlflow.db"
            path.parent.mkdir()
            path.touch()
            assert len(set(pool.map(put, range(8), [path] * 8))) == 1


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """As `touch` or a volume leaves one."""
    path = tmp_path / "mlflow.db"
    path.touch()
    prepare_sqlite(f"sqlite:///{path}")
    assert path.stat().st_size


def test_kill_at_any_time_leaves_no_half_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the database is made, or while the bundle is stored: the next run makes version 1, whole."""
    for marker in (" s  validate", " s  bundle"):
        kill_after(marker, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, uri)
    assert client.search_model_versions() == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert train.main(["--quiet"]) == ExitCode.OK
    (version,) = client.search_model_versions()
    fetched = mlflow.artifacts.download_artifacts(artifact_uri="models:/iris/1", dst_path="d")
    assert verify_bundle(Path(fetched)).digest == version.tags["coalmine.digest"]


def kill_after(marker: str, directory: Path) -> None:
    """Train in `directory` and kill the process as soon as it has shown a line with `marker`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        while marker not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
        assert process.stdout.read() == ""
    assert process.wait() == -signal.SIGKILL
