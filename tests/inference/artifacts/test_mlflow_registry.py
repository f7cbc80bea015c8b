"""Fetching from real registries: one behind an MLflow server, one in a SQLite file."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inference.artifacts import Credentials, MlflowRepository, check_golden_rows, load_predictor
from inference.errors import BundleError, CacheError, ModelNotFoundError, RegistryUnavailableError
from tests.inference.artifacts.bundle_kit import SeededRegistry, digest_of

pytestmark = pytest.mark.slow

Make = Callable[..., MlflowRepository]


@pytest.fixture
def make(server_registry: SeededRegistry, tmp_path: Path) -> Make:
    """Make repositories of the server that share one empty cache."""

    def make(
        uri: str = "models:/iris@champion", tracking_uri: str = "", **options: object
    ) -> MlflowRepository:
        address = tracking_uri or server_registry.tracking_uri
        return MlflowRepository(uri, address, tmp_path / "cache", Credentials())

    return make


def test_alias(make: Make, server_registry: SeededRegistry) -> None:
    """An alias leads to the verified bundle of its version, ready to load and to predict."""
    repository = make()
    model = repository.fetch()
    assert (model.name, model.version, model.stale_reason) == ("iris", "1", "")
    assert model.bundle.digest == digest_of(server_registry.forest)
    check_golden_rows(model.bundle, load_predictor(model.bundle))
    diagnostics = repository.diagnostics()
    assert diagnostics.tracking_uri == server_registry.tracking_uri
    assert diagnostics.server_version.count(".") == 2
    assert diagnostics.last_verified_at is not None
    assert diagnostics.last_error == ""


def test_other_uri(make: Make, server_registry: SeededRegistry) -> None:
    """A URI given to `fetch` wins over the configured one."""
    model = make().fetch("models:/iris/2")
    assert (model.version, model.bundle.digest) == ("2", digest_of(server_registry.other))


def test_run(make: Make, server_registry: SeededRegistry) -> None:
    """A model of a run has the name of its manifest and the run id as version."""
    model = make(f"runs:/{server_registry.run_id}/bundle").fetch()
    assert (model.name, model.version) == ("iris", server_registry.run_id)
    assert model.bundle.digest == digest_of(server_registry.forest)


def test_logged_model(make: Make, server_registry: SeededRegistry) -> None:
    """A model that MLflow 3 keeps beside its run is found under the name that the run gave it."""
    model = make(f"runs:/{server_registry.second_run_id}/model").fetch()
    assert model.bundle.digest == digest_of(server_registry.other)


def test_stage(make: Make) -> None:
    """A stage leads to its highest version, in any case, with one deprecation in the log."""
    repository = make("models:/iris/production")
    with capture_logs() as logs:
        assert repository.fetch().version == "1"
        assert repository.fetch().version == "1"
    assert len([line for line in logs if "stages are deprecated" in line["event"]]) == 1


def test_latest_is_foreign(make: Make) -> None:
    """`latest` is the highest version; an MLflow model of another library is refused with what it is."""
    sentence = r"iris version 5 is refused: it has no manifest\.json, and its MLflow flavors are none"
    with pytest.raises(BundleError, match=sentence):
        make("models:/iris/latest").fetch()


_LOG_PLAIN = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
mlflow.set_tracking_uri(sys.argv[1])
model = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
with mlflow.start_run() as run:
    mlflow.log_metric("accuracy", 0.75)
    mlflow.sklearn.log_model(model, name="line", pip_requirements=["scikit-learn"])
print(run.info.run_id)
"""


def test_plain_run(make: Make, server_registry: SeededRegistry) -> None:
    """A plain scikit-learn model behind a server is made into a bundle, with the metrics of its run."""
    command = [sys.executable, "-c", _LOG_PLAIN, server_registry.tracking_uri]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    run_id = ended.stdout.split()[-1]
    model = make(f"runs:/{run_id}/line").fetch()
    assert (model.name, model.version) == ("line", run_id)
    assert model.bundle.metrics is not None
    assert model.bundle.metrics.accuracy == 0.75
    check_golden_rows(model.bundle, load_predictor(model.bundle))


def test_wrong_tag(make: Make, server_registry: SeededRegistry, tmp_path: Path) -> None:
    """A bundle that is not the one of the digest tag is refused, and nothing of it stays."""
    repository = make("models:/iris/3")
    with pytest.raises(
        BundleError, match=r"iris version 3 is refused.* the tag coalmine\.digest says"
    ) as caught:
        repository.fetch()
    assert digest_of(server_registry.forest) in str(caught.value)
    assert digest_of(server_registry.other) in str(caught.value)
    assert repository.diagnostics().last_error == str(caught.value)
    assert not list((tmp_path / "cache").glob("tmp-*"))
    assert not list((tmp_path / "cache").glob("bundles/*"))


def test_no_tag(make: Make) -> None:
    """A version without the digest tag is refused: nothing vouches for its bundle."""
    with pytest.raises(BundleError, match=r"the tag coalmine\.digest is ''"):
        make("models:/iris/4").fetch()


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("models:/rose@champion", "there is no model rose; the registry has iris; train and register"),
        ("models:/rose/latest", "there is no model rose"),
        ("models:/iris/9", "iris has no version 9; iris has the versions 5, 4, 3, 2, 1"),
        ("models:/iris@best", "iris has no alias best; .* the aliases champion .version 1.; set that alias"),
        ("models:/iris/Archived", "iris has no stage Archived"),
        ("runs:/0123abc/bundle", "there is no run 0123abc"),
        ("models:/it's@champion", "there is no model it's"),
    ],
)
def test_not_found(make: Make, uri: str, sentence: str) -> None:
    """What does not exist is refused with what exists and what to do."""
    with pytest.raises(ModelNotFoundError, match=sentence) as caught:
        make(uri).fetch()
    assert caught.value.remedy


def test_no_such_path_in_run(make: Make, server_registry: SeededRegistry) -> None:
    """A run without a model at that path is refused with what was found there."""
    with pytest.raises(BundleError, match="found no files"):
        make(f"runs:/{server_registry.run_id}/elsewhere").fetch()


def test_version_from_cache(make: Make) -> None:
    """A version number that was fetched once is given without asking the server, and the log says so."""
    make("models:/iris/1").fetch()
    repository = make("models:/iris/1")
    with capture_logs() as logs:
        begin = time.monotonic()
        assert repository.fetch().stale_reason == ""
    assert [line["event"] for line in logs] == ["model served from cache"]
    assert time.monotonic() - begin < 1
    assert repository.diagnostics().last_verified_at is None


def test_damaged_cache(make: Make, server_registry: SeededRegistry, tmp_path: Path) -> None:
    """A cached bundle that was damaged is fetched again."""
    digest = make("models:/iris/1").fetch().bundle.digest
    file = tmp_path / "cache" / "bundles" / digest / "model.onnx"
    sound = file.read_bytes()
    file.write_bytes(sound[:-1] + b"x")
    assert make("models:/iris/1").fetch().bundle.digest == digest
    assert file.read_bytes() == sound


def test_same_bundle_once(make: Make, server_registry: SeededRegistry, tmp_path: Path) -> None:
    """Two URIs of one bundle share one directory of the cache."""
    make().fetch()
    make(f"runs:/{server_registry.run_id}/bundle").fetch()
    assert len(list((tmp_path / "cache" / "bundles").iterdir())) == 1
    assert len(list((tmp_path / "cache" / "resolved").iterdir())) == 2


def test_read_only_record(make: Make, tmp_path: Path) -> None:
    """When the bundle is there and only the record cannot be written, the model is given with a warning."""
    make().fetch()
    shutil.rmtree(tmp_path / "cache" / "resolved")
    (tmp_path / "cache" / "resolved").write_text("in the way")
    with capture_logs() as logs:
        assert make().fetch().version == "1"
    assert [line["event"] for line in logs] == ["model URI not remembered"]


def test_unusable_cache(make: Make, tmp_path: Path) -> None:
    """A cache that cannot be written is an error of the cache, through the child process as well."""
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(CacheError, match=f"{tmp_path}/cache cannot be used") as caught:
        make().fetch()
    assert caught.value.directory == str(tmp_path / "cache")


def test_sqlite(sqlite_registry: SeededRegistry, make: Make) -> None:
    """A registry in a SQLite file is read through the library; unchanged, it is not even opened again."""
    repository = make(tracking_uri=sqlite_registry.tracking_uri)
    assert repository.fetch().version == "1"
    assert repository.diagnostics().server_version.count(".") == 2
    with capture_logs() as logs:
        assert repository.fetch().bundle.digest == digest_of(sqlite_registry.forest)
    assert [line["event"] for line in logs] == ["model served from cache"]


def test_sqlite_changes(sqlite_registry: SeededRegistry, make: Make, tmp_path: Path) -> None:
    """An alias that moves in a SQLite file is seen by the next fetch."""
    file = Path(shutil.copy(sqlite_registry.tracking_uri.removeprefix("sqlite:///"), tmp_path / "copy.db"))
    repository = make(tracking_uri=f"sqlite:///{file}")
    assert repository.fetch().version == "1"
    import sqlite3

    with sqlite3.connect(file) as database:
        database.execute("UPDATE registered_model_aliases SET version = 2")
    database.close()
    assert repository.fetch().version == "2"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (
            "models:/iris@best",
            "iris has no alias best; iris has the versions 5, 4, 3, 2, 1 and the aliases champion",
        ),
        ("models:/rose/1", "there is no model rose; the registry has iris"),
    ],
)
def test_sqlite_refusals(sqlite_registry: SeededRegistry, make: Make, uri: str, sentence: str) -> None:
    """The library path refuses in the same words as the REST path."""
    with pytest.raises(ModelNotFoundError, match=sentence):
        make(uri, sqlite_registry.tracking_uri).fetch()


def test_sqlite_run(sqlite_registry: SeededRegistry, make: Make) -> None:
    """Runs work through the library too."""
    model = make(f"runs:/{sqlite_registry.second_run_id}/model", sqlite_registry.tracking_uri).fetch()
    assert model.version == sqlite_registry.second_run_id
    assert model.bundle.digest == digest_of(sqlite_registry.other)


def test_missing_sqlite(make: Make, tmp_path: Path) -> None:
    """A SQLite file that does not exist is not created; the sentence says how to train."""
    file = tmp_path / "nothing.db"
    with pytest.raises(ModelNotFoundError, match=rf"{file} does not exist; .*python -m training\.train"):
        make(tracking_uri=f"sqlite:///{file}").fetch()
    assert not file.exists()


def test_no_database(make: Make, tmp_path: Path) -> None:
    """A file that is no database is a registry that cannot be used, without a traceback in the sentence."""
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at" * 50)
    with pytest.raises(RegistryUnavailableError, match="file is not a database"):
        make(tracking_uri=f"sqlite:///{tmp_path}/text.db").fetch()


@pytest.mark.parametrize("uri", ["models:/iris@champion", "runs:/{run}/model"])
def test_working_directory_stays_clean(
    sqlite_registry: SeededRegistry, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """Fetching leaves nothing in the working directory and imports nothing from it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "json.py").write_text("raise SystemExit('imported from the working directory')\n")
    make(uri.format(run=sqlite_registry.second_run_id), sqlite_registry.tracking_uri).fetch()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["json.py"]


def test_child_speaks_one_line(server_registry: SeededRegistry, tmp_path: Path) -> None:
    """The fetching process answers with one line of JSON and nothing else on standard output."""
    request = {
        "model_uri": "models:/iris/1",
        "tracking_uri": server_registry.tracking_uri,
        "cache_dir": str(tmp_path),
        "credentials": {"username": "", "password": "", "token": ""},
        "timeout_seconds": 30,
    }
    command = [sys.executable, "-m", "inference.artifacts.fetch", str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, check=True, env=environment
    )
    (line,) = ended.stdout.splitlines()
    assert json.loads(line)["digest"] == digest_of(server_registry.forest)
