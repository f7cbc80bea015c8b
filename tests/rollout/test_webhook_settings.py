"""The relay's settings: every error at once, no secret in any of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.webhook_relay.__main__ import main
from rollout.webhook_relay.command import command_for
from rollout.webhook_relay.deployment import Wanted
from rollout.webhook_relay.settings import LinkSettings, Settings, StateSettings
from telemetry import SettingsError, load_settings
from tests.rollout.relay_settings import SECRET

ROOT = Path(__file__).resolve().parents[2]
TWO = Wanted("iris", "challenger", "2")

VALID = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "RELAY_SECRET": SECRET}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("RELAY_", "MLFLOW_", "LOG_")):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (VALID | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, **variables)
    return str(caught.value)


def test_address_and_secret_are_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else has a default: the alias challenger, and deploy-canary on this machine."""
    settings = load(monkeypatch)
    assert (settings.relay_alias, settings.relay_trigger, settings.relay_models) == (
        "challenger",
        "local",
        (),
    )
    assert settings.secrets == (SECRET,)
    command = command_for(TWO, settings.relay_command)
    assert command[1:3] == ["-m", "invoke"]
    assert command[-3:] == ["deploy-canary", "--model-uri", "models:/iris/2"]


def test_every_error_is_listed_and_no_secret_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence a variable, all at once; what is secret is not repeated."""
    said = problems(
        monkeypatch,
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db",
        RELAY_SECRET="tooshort",
        RELAY_PORT="70000",
        RELAY_MODELS="iris, two words",
        RELAY_MAX_SKEW_SECONDS="-1",
        RELAY_TRIGGER="github",
        RELAY_GITHUB_TOKEN="ghp_x",
        RELAY_GITHUB_TOKEN_FILE="/none",
        LOG_LEVEL="LOUD",
    )
    for name in (
        *("MLFLOW_TRACKING_URI", "RELAY_SECRET", "RELAY_PORT", "RELAY_MODELS", "RELAY_MAX_SKEW_SECONDS"),
        *("RELAY_GITHUB_REPOSITORY", "RELAY_GITHUB_TOKEN_FILE", "LOG_LEVEL"),
    ):
        assert f"  {name}: " in said
    assert "tooshort" not in said
    assert "ghp_x" not in said


@pytest.mark.parametrize(
    "command",
    ["", "true", "deploy {name}", "deploy {model_uri} {secret}", "deploy '{model_uri}", "deploy {model_uri"],
)
def test_a_command_that_cannot_be_filled_in_is_refused(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """It must name the version, and no braces that mean nothing; empty means the default."""
    if not command:
        assert load(monkeypatch, RELAY_COMMAND=command).relay_command is None
        return
    assert "RELAY_COMMAND" in problems(monkeypatch, RELAY_COMMAND=command)


def test_values_become_parts_of_words() -> None:
    """A template is split before it is filled in, so that no value makes another word."""
    command = command_for(TWO, "deploy --to '{model_uri} now' {alias}")
    assert command == ["deploy", "--to", "models:/iris/2 now", "challenger"]


def test_a_secret_file_has_the_newest_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Further lines are older secrets; a file that is missing, empty or has short lines is refused."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nan-older-secret-0123456789\n")
    monkeypatch.setenv("RELAY_SECRET_FILE", str(file))
    assert "in one of them" in problems(monkeypatch)
    assert load(monkeypatch, RELAY_SECRET="").secrets == (SECRET, "an-older-secret-0123456789")
    for content in ("", "short\n", f"{SECRET}\nshort\n"):
        file.write_text(content)
        assert "RELAY_SECRET_FILE" in problems(monkeypatch, RELAY_SECRET="")
    file.unlink()
    assert "cannot be read" in problems(monkeypatch, RELAY_SECRET="")


def test_argo_needs_an_address_a_template_and_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the chosen trigger needs is asked for; what the others need is not."""
    said = problems(monkeypatch, RELAY_TRIGGER="argo")
    assert all(word in said for word in ("RELAY_ARGO_URL", "RELAY_ARGO_TEMPLATE", "RELAY_ARGO_TOKEN_FILE"))
    assert "GITHUB" not in said
    complete = {
        "RELAY_ARGO_URL": "https://argo:2746/",
        "RELAY_ARGO_TEMPLATE": "deploy",
        "RELAY_ARGO_TOKEN": "t",
    }
    assert load(monkeypatch, RELAY_TRIGGER="argo", **complete).relay_argo_url == "https://argo:2746"


def test_status_needs_no_secret() -> None:
    """Each command reads what it needs: `status` and `retry` nothing that is required."""
    assert load_settings(StateSettings).relay_state_dir == Path(".coalmine/webhook-relay")
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI"):
        load_settings(LinkSettings)


@pytest.mark.parametrize("limit", ["-1", "0", "x", "9" * 30])
def test_a_limit_is_a_number_from_one(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage before the state is opened: SQLite takes -1 for no limit at all."""
    with pytest.raises(SystemExit, match="2"):
        main(["status", "--limit", limit])
    assert "is no count: write a number from 1" in capsys.readouterr().err


def test_the_process_lists_its_errors_as_log_lines(tmp_path: Path) -> None:
    """`python -m rollout.webhook_relay` with nothing set: exit 2, one JSON line a variable; the schema prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RELAY_", "MLFLOW_"))}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "rollout.webhook_relay", *arguments],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run()
    assert done.returncode == 2
    messages = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    assert [message.partition(":")[0] for message in messages] == ["MLFLOW_TRACKING_URI", "RELAY_SECRET_FILE"]
    schema = json.loads(run("--settings-schema").stdout)
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert list(tmp_path.iterdir()) == []


def test_every_setting_is_in_the_documents() -> None:
    """docs/webhooks.md names each variable, and none that does not exist."""
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    table = text.partition("\n## Settings\n")[2].splitlines()
    named = {line.split("`")[1] for line in table if line.startswith("| `")}
    assert named == {name.upper() for name in Settings.model_fields}
