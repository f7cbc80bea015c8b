"""The registry, against a real MLflow on SQLite."""

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from rollout.errors import AliasConflictError, ExitCode, InfrastructureError, UsageError
from rollout.registry import MlflowRegistry, ModelVersion
from training.registering.alias_history import unrecorded_moves
from training.registering.alias_moves import AliasMover


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with model iris, versions 1 to 3, of which 2 is champion, and model empty."""
    directory = tmp_path_factory.mktemp("registry")
    database = directory / "mlflow.db"
    uri = f"sqlite:///{database}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("empty")
    client.create_registered_model("iris")
    for _ in range(3):
        client.create_model_version("iris", source=str(directory / "bundle"))
    client.set_registered_model_alias("iris", "champion", "2")
    return database


@pytest.fixture
def uri(filled: Path, tmp_path: Path) -> str:
    """A copy of it."""
    shutil.copy(filled, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def registry(uri: str) -> MlflowRegistry:
    """The registry on the copy."""
    return MlflowRegistry(uri)


@pytest.mark.parametrize(
    ("model_uri", "version"),
    [
        ("models:/iris/1", "1"),
        ("models:/iris/none", "3"),
        ("models:/iris/3", "3"),
        ("models:/iris@champion", "2"),
        ("models:/iris/latest", "3"),
    ],
)
def test_a_uri_names_one_immutable_version(registry: MlflowRegistry, model_uri: str, version: str) -> None:
    """A number, an alias and `latest` are resolved to a number."""
    assert registry.resolve(model_uri) == ModelVersion("iris", version)


@pytest.mark.parametrize(
    ("model_uri", "sentence"),
    [
        ("models:/iriss/1", r"has no model 'iriss' \(registered models are empty, iris\)"),
        ("models:/iriss@champion", r"has no model 'iriss'"),
        ("models:/iriss/latest", r"has no model 'iriss'"),
        ("models:/iris/9", r"versions 1, 2, 3 and aliases champion → 2"),
        ("models:/iris@challenger", r"versions 1, 2, 3 and aliases champion → 2"),
        ("models:/empty/latest", r"model empty has versions none and aliases none"),
        ("models:/empty/1", r"model empty has versions none and aliases none"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    registry: MlflowRegistry, model_uri: str, sentence: str
) -> None:
    """A wrong name, version or alias: exit 2, and the names, versions or aliases that there are."""
    with pytest.raises(UsageError, match=sentence) as caught:
        registry.resolve(model_uri)
    assert model_uri in str(caught.value)


@pytest.mark.parametrize(
    "model_uri",
    [
        "",
        "iris/1",
        "models:iris/1",
        "models:/iris",
        "models:/iris/",
        "models:/iris@",
        "models:/@champion",
        "models:/iris/Prod",
        "models:/iris/1/2",
        "models:/iris/-1",
        "models:/iris@a/b",
        "runs:/abc/model",
    ],
)
def test_another_form_of_uri_is_refused_with_the_forms_that_work(
    registry: MlflowRegistry, model_uri: str
) -> None:
    """The three forms are listed."""
    with pytest.raises(UsageError, match=r"models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/latest"):
        registry.resolve(model_uri)


def test_a_mistyped_file_is_not_created(tmp_path: Path) -> None:
    """MLflow would make an empty registry there; we say that there is none."""
    missing = tmp_path / "mflow.db"
    with pytest.raises(UsageError, match=r"there is no registry at .*invoke train"):
        MlflowRegistry(f"sqlite:///{missing}")
    assert not missing.exists()


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    """Exit 4 with the file's name, no traceback."""
    (tmp_path / "mlflow.db").write_text("not a database at all\n" * 100)
    with pytest.raises(InfrastructureError, match=r"mlflow\.db cannot be used"):
        MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}").resolve("models:/iris/1")


def test_a_scheme_that_nobody_knows_is_a_sentence() -> None:
    """A mistyped scheme is wrong configuration, in words."""
    with pytest.raises((UsageError, InfrastructureError), match="htp://registry"):
        MlflowRegistry("htp://registry").resolve("models:/iris/1")


def test_a_promotion_moves_champion_and_keeps_previous(registry: MlflowRegistry) -> None:
    """The old champion stays findable, for a rollback."""
    registry.promote(ModelVersion("iris", "3"), expected="2", why="test")
    assert registry.champion("iris") == "3"
    assert registry.resolve("models:/iris@previous").version == "2"


def test_a_promotion_is_kept_in_the_history(registry: MlflowRegistry, uri: str) -> None:
    """Who promoted what and why can be read by `invoke model-history`, moves behind our back included."""
    registry.promote(ModelVersion("iris", "3"), expected="2", why="rollout 7: every step passed")
    now = AliasMover(uri).read("iris")
    (act,) = now.acts
    assert act.done
    assert act.why == "rollout 7: every step passed"
    assert [str(change) for change in act.changes] == ["previous none → 2", "champion 2 → 3"]
    assert [str(change) for _, change in unrecorded_moves(now.acts, now.aliases)] == ["champion none → 2"]


def test_a_repeated_promotion_changes_nothing(registry: MlflowRegistry) -> None:
    """After a kill it is asked for again: `previous` is not overwritten by the new champion."""
    for _ in range(2):
        registry.promote(ModelVersion("iris", "3"), expected="2", why="test")
    assert registry.champion("iris") == "3"
    assert registry.resolve("models:/iris@previous").version == "2"


def test_an_alias_that_was_moved_meanwhile_is_not_overwritten(registry: MlflowRegistry) -> None:
    """Compare and swap: refused, with who serves and what to decide."""
    with pytest.raises(AliasConflictError, match="was moved to version 2 by somebody else"):
        registry.promote(ModelVersion("iris", "3"), expected="1", why="test")
    assert registry.champion("iris") == "2"
    with pytest.raises(UsageError):
        registry.resolve("models:/iris@previous")


def test_the_first_champion_has_no_previous(registry: MlflowRegistry, uri: str) -> None:
    """Without a champion, `expected` None promotes; afterwards it refuses."""
    mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).delete_registered_model_alias("iris", "champion")
    assert registry.champion("iris") is None
    registry.promote(ModelVersion("iris", "1"), expected=None, why="test")
    assert registry.champion("iris") == "1"
    with pytest.raises(AliasConflictError, match="moved to version 1"):
        registry.promote(ModelVersion("iris", "2"), expected=None, why="test")


def test_the_champion_of_a_model_that_does_not_exist_is_an_error(registry: MlflowRegistry) -> None:
    """It is not confused with a model that has no champion."""
    with pytest.raises(UsageError, match="has no model 'wine'"):
        registry.champion("wine")


def test_more_models_than_a_page_are_all_known(registry: MlflowRegistry, uri: str) -> None:
    """MLflow lists 100 models a page; the 101st exists too."""
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    for number in range(100):
        client.create_registered_model(f"a{number:03}")
    with pytest.raises(UsageError, match="versions 1, 2, 3"):
        registry.resolve("models:/iris/9")


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that is bound and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.slow
def test_an_unreachable_server_is_noticed_in_seconds(closed_port: int) -> None:
    """Every question to a registry that is down ends within seconds in a sentence with its address."""
    registry = MlflowRegistry(f"http://127.0.0.1:{closed_port}")
    for question in (
        lambda: registry.resolve("models:/iris/1"),
        lambda: registry.champion("iris"),
    ):
        began = time.monotonic()
        with pytest.raises(InfrastructureError, match=f"127.0.0.1:{closed_port} cannot be used") as caught:
            question()
        assert time.monotonic() - began < 30
        assert caught.value.exit_code is ExitCode.INFRASTRUCTURE
        assert "MLFLOW_TRACKING_URI" in str(caught.value)
