"""The tasks, as a user calls them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.commands import DeployOptions, deploy_canary, status

ROOT = Path(__file__).resolve().parents[2]

TASKS = (
    "canary-status",
    "demo",
    "deploy-canary",
    "drift",
    "mlflow-ui",
    "model-history",
    "model-inspect",
    "model-undo",
    "predict",
    "serve",
    "stack-down",
    "stack-up",
    "train",
    "validate-data",
    "webhook-relay",
)


def invoke(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, "-m", "invoke", "-r", str(ROOT), *arguments],
        cwd=directory,
        env=environment | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every task that `invoke --list` shows, with its sentence."""
    done = invoke(tmp_path_factory.mktemp("empty"), "--list", "--list-format=json")
    assert done.returncode == 0, done.stderr
    return {task["name"]: task["help"] for task in json.loads(done.stdout)["tasks"]}


def test_every_task_is_listed_with_a_sentence(listed: dict[str, str]) -> None:
    """The acts of the specification, each with what it does."""
    assert set(TASKS) <= set(listed)
    assert all(sentence for sentence in listed.values())


def test_every_task_explains_itself_and_each_of_its_options(listed: dict[str, str], tmp_path: Path) -> None:
    """`invoke --help TASK` ends with 0; no option stands there without a word."""
    for task in listed:
        done = invoke(tmp_path, "--help", task)
        assert done.returncode == 0, done.stderr
        options = [line.strip() for line in done.stdout.splitlines() if line.startswith("  -")]
        assert [option for option in options if len(option.split(maxsplit=3)) < 3] == []


def test_without_a_stack_a_rollout_is_wrong_usage(tmp_path: Path) -> None:
    """Exit 2, one sentence on standard error with what to do, and nothing is created."""
    home = tmp_path / "none"
    done = invoke(tmp_path, "deploy-canary", "--model-uri", "models:/iris/8", "--home", str(home))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no stack runs in ")
    assert "invoke stack-up" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (DeployOptions("models:/iris/8", target="moon"), "target 'moon' does not exist"),
        (DeployOptions("models:/iris/8", plan=Path("none.toml")), "the plan none.toml cannot be followed"),
    ],
)
def test_a_wrong_option_is_wrong_usage(
    options: DeployOptions, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and a sentence, before the stack is looked at."""
    assert deploy_canary(options) == 2
    assert words in capsys.readouterr().err


def test_the_status_of_nothing_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and a sentence."""
    assert status(tmp_path / "home", as_json=True) == 2
    assert "no stack runs" in capsys.readouterr().err


def test_stopping_nothing_is_fine(tmp_path: Path) -> None:
    """`stack-down` without a stack ends with 0."""
    done = invoke(tmp_path, "stack-down", "--home", "home")
    assert done.returncode == 0
    assert "nothing ran" in done.stdout


def test_a_stack_without_a_registry_says_so(tmp_path: Path) -> None:
    """No mlflow.db here: exit 2, and nothing is created in its place."""
    done = invoke(tmp_path, "stack-up", "--home", "home", "--port", "0")
    assert done.returncode == 2
    assert "train a model first" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_exit_codes_of_other_programs_pass_through(tmp_path: Path) -> None:
    """Training that refuses its configuration decides the exit code of its task."""
    done = invoke(tmp_path, "train", "--config", "none.toml")
    assert done.returncode == 2
    assert "none.toml" in done.stdout + done.stderr
