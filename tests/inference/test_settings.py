"""Settings from the environment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference.settings import Settings
from telemetry import SettingsError, load_settings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_defaults_are_a_working_server(environment: pytest.MonkeyPatch) -> None:
    """Nothing needs to be set: the champion of iris from the registry in the working directory."""
    settings = load_settings(Settings)
    assert settings.configured_uri == "models:/iris@champion"
    assert settings.mlflow_tracking_uri == "sqlite:///mlflow.db"
    assert (settings.grpc_port, settings.http_port) == (50051, 8000)
    assert settings.grpc_max_message_bytes == 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("variables", "uri"),
    [
        ({"MLFLOW_MODEL_NAME": "wine", "MLFLOW_MODEL_ALIAS": "next"}, "models:/wine@next"),
        ({"MLFLOW_MODEL_STAGE": "Production"}, "models:/iris/Production"),
        ({"MLFLOW_MODEL_STAGE": "Production", "MODEL_URI": "models:/iris/7"}, "models:/iris/7"),
        ({"MODEL_URI": ""}, "models:/iris@champion"),
    ],
)
def test_model_uri_wins(environment: pytest.MonkeyPatch, variables: dict[str, str], uri: str) -> None:
    """MODEL_URI wins over the stage, the stage over the alias; an empty variable is an unset one."""
    for name, value in variables.items():
        environment.setenv(name, value)
    assert load_settings(Settings).configured_uri == uri


def test_all_problems_at_once(environment: pytest.MonkeyPatch) -> None:
    """Wrong values and checks across variables are listed together, with the variable and its meaning."""
    environment.setenv("MODEL_SOURCE", "local")
    environment.setenv("GRPC_PORT", "70000")
    environment.setenv("PREDICTION_LOG_SAMPLE_RATE", "nan")
    environment.setenv("MODEL_URI", "iris/7")
    environment.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    named = {problem.partition(":")[0] for problem in caught.value.problems}
    assert named == {
        "MODEL_PATH",
        "GRPC_PORT",
        "PREDICTION_LOG_SAMPLE_RATE",
        "MODEL_URI",
        "MLFLOW_TRACKING_PASSWORD",
    }
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["models:/iris", "models:/iris/Nowhere", "models:/@champion", "runs:/abc", "iris"]
)
@pytest.mark.parametrize("variable", ["MODEL_URI", "MODEL_URIS", "SHADOW_MODEL_URI"])
def test_a_uri_that_cannot_be_resolved_is_told_at_start(
    environment: pytest.MonkeyPatch, variable: str, uri: str
) -> None:
    """What no registry can have is a problem of its variable, with the forms that are accepted."""
    environment.setenv(variable, uri)
    with pytest.raises(
        SettingsError, match=rf"{variable}: .*it is not a model URI; accepted are models:/name/7"
    ):
        load_settings(Settings)


def test_ports_differ(environment: pytest.MonkeyPatch) -> None:
    """The same port for both protocols is refused, unless the system chooses."""
    environment.setenv("GRPC_PORT", "9000")
    environment.setenv("HTTP_PORT", "9000")
    with pytest.raises(SettingsError, match="HTTP_PORT: expected a port other than GRPC_PORT"):
        load_settings(Settings)


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    """Printing settings, for example in a traceback, tells no secret."""
    for name in ("ADMIN_API_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        environment.setenv(name, "s3cret-value")
    assert "s3cret-value" not in repr(load_settings(Settings))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ADMIN_API_TOKEN", "tok\n", "printable ASCII"),
        ("PREDICT_API_TOKEN", "hunté", "printable ASCII"),
        ("MLFLOW_TRACKING_URI", "http://bob:hun/ter2@127.0.0.1:9", "cannot be read"),
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:hunter2", "cannot be read"),
    ],
)
def test_what_could_never_work_is_told_at_start(
    environment: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """A token that no header carries and an address without a readable host: refused, a token never quoted."""
    environment.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert words in problem
    assert "tok" not in problem.replace("TOKEN", "").replace("Token", "").replace("token", "")
    assert "hunté" not in problem
    assert "bob" not in problem


def test_every_field_is_explained() -> None:
    """The schema has a sentence for each variable."""
    properties = json.loads(json.dumps(Settings.model_json_schema()))["properties"]
    assert all(field["description"] for field in properties.values())


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the server runs."""
    settings = Settings(model_source="local", model_path=Path("bundle"))
    with pytest.raises(ValueError, match="frozen"):
        settings.grpc_port = 1  # type: ignore[misc]


def test_reading_them_needs_pydantic_alone() -> None:
    """A start does not pay for pydantic-settings, which takes as long to import as gRPC."""
    check = "import sys, inference.service; sys.exit('pydantic_settings' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
