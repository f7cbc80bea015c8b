"""The record of a stack: who may read it, and what a new stack finds of an old one."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from rollout.errors import InfrastructureError, UsageError
from rollout.local import Stack, StackOptions, load_stack, stack_down, stack_up
from rollout.local.envoy import Envoy
from rollout.local.inference_process import InferenceProcess, ServerOptions
from rollout.local.processes import ProcessRecord, start_detached, stop
from rollout.local.stack import absolute_tracking_uri
from rollout.registry import MlflowRegistry
from rollout.state import Home, Phase, RolloutState

GONE = ProcessRecord(pid=1, started="another boot/1")


def server(track: str, process: ProcessRecord = GONE) -> InferenceProcess:
    return InferenceProcess(
        process=process, track=track, model_uri="models:/iris/7", grpc_port=1, http_port=2, log="none.log"
    )


def stack(directory: Path, **changes: object) -> Stack:
    """A stack whose processes have all ended, but for the changes."""
    envoy = Envoy(process=GONE, directory=str(directory), host="127.0.0.1", port=3, admin="127.0.0.1:4")
    options = ServerOptions(tracking_uri="sqlite:////none.db", cache_dir="cache", admin_token="secret")
    return Stack(options=options, envoy=envoy, stable=server("stable")).model_copy(update=changes)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of its own."""
    return Home(tmp_path / "home")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ProcessRecord]:
    """A running process."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    record = start_detached(command, os.environ, tmp_path / "log")
    yield record
    stop(record, 0)


def start(home: Home) -> None:
    registry = create_autospec(MlflowRegistry, instance=True)
    registry.resolve.side_effect = UsageError("models:/iris/7 does not exist")
    stack_up(home, StackOptions("models:/iris/7", "sqlite:////none.db", port=0), registry)


def test_the_record_comes_back_and_is_its_owners_only(home: Home, tmp_path: Path) -> None:
    """It holds the admin token."""
    written = stack(tmp_path, canary=server("canary")).save(home)
    assert load_stack(home) == written
    assert home.stack_file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_record_says_what_to_do(home: Home) -> None:
    """The file is named, and the way out, in few words; without any process to read, how to list them."""
    home.directory.mkdir()
    for text in ("{", "[]", "", '{"options": 1}'):
        home.stack_file.write_text(text)
        for command in (lambda: load_stack(home), lambda: stack_down(home), lambda: start(home)):
            with pytest.raises(InfrastructureError, match=r"ps -ef .*move the file away") as caught:
                command()
            assert len(str(caught.value)) < 300 + len(str(home.stack_file))
            assert "pydantic" not in str(caught.value)


def test_a_damaged_record_names_the_processes_that_it_still_shows(
    home: Home, tmp_path: Path, process: ProcessRecord
) -> None:
    """Half a record names what runs and was started then; numbers that somebody else has by now are left out."""
    stack(tmp_path, stable=server("stable", process)).save(home)
    text = home.stack_file.read_text()
    home.stack_file.write_text(text[: text.index(process.started) + len(process.started) + 5])
    with pytest.raises(InfrastructureError, match=f"with `kill {process.pid}`"):
        load_stack(home)


def test_a_home_that_is_a_file_says_so(home: Home) -> None:
    """Every command that looks there says it, and none takes it for a stack that does not run."""
    home.directory.write_text("")
    for command in (lambda: load_stack(home), lambda: home.only_operator("stack-up").__enter__()):
        with pytest.raises(UsageError, match=r"is a file, and the home of a stack is a directory"):
            command()


@pytest.mark.parametrize("port", [-5, 65536, 70000])
def test_a_number_that_is_no_port_is_wrong_usage(port: int) -> None:
    """Before a registry is asked or a process started."""
    with pytest.raises(UsageError, match=f"--port {port} is no port"):
        StackOptions("models:/iris/7", "sqlite:////none.db", port=port)


def test_a_taken_port_is_noticed_before_anything_starts(home: Home) -> None:
    """Stable takes seconds to start; the port is known to be taken without it."""
    registry = create_autospec(MlflowRegistry, instance=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = StackOptions("models:/iris/7", "sqlite:////none.db", port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="Address already in use"):
            stack_up(home, options, registry)
    registry.resolve.assert_not_called()


def started_by_a_killed_command(home: Home, process: ProcessRecord) -> None:
    home.directory.mkdir()
    home.starting_file.write_text(json.dumps({"processes": [process.model_dump()]}))


def test_stopping_ends_what_a_killed_start_left(home: Home, process: ProcessRecord) -> None:
    """There is no stack yet, but there are its processes."""
    started_by_a_killed_command(home, process)
    (ended,) = stack_down(home)
    assert str(process.pid) in ended
    assert process.find() is None
    assert stack_down(home) == []


def test_starting_ends_what_a_killed_start_left(home: Home, process: ProcessRecord) -> None:
    """The next `stack-up` goes on alone (here, until the registry does not know the model)."""
    started_by_a_killed_command(home, process)
    with pytest.raises(UsageError, match="models:/iris/7 does not exist"):
        start(home)
    assert process.find() is None
    assert not home.starting_file.exists()


@pytest.mark.parametrize("part", ["stable", "canary"])
def test_a_second_stack_is_refused_while_any_part_of_the_first_runs(
    home: Home, tmp_path: Path, process: ProcessRecord, part: str
) -> None:
    """Otherwise its record would be overwritten and the process would never be ended."""
    stack(tmp_path, **{part: server(part, process)}).save(home)
    with pytest.raises(UsageError, match=r"a stack runs already .*stack-down.*--home DIRECTORY"):
        start(home)
    assert process.find() is not None


def test_a_stack_whose_processes_have_all_ended_is_replaced(home: Home, tmp_path: Path) -> None:
    """After a reboot `stack-up` goes on (here, until the registry does not know the model)."""
    stack(tmp_path).save(home)
    with pytest.raises(UsageError, match="models:/iris/7 does not exist"):
        start(home)


@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.PROMOTING])
def test_a_rollout_of_an_earlier_stack_is_not_finished_on_a_new_one(home: Home, phase: Phase) -> None:
    """A new stack has weight 0 and no canary: what an old one left unfinished has ended."""
    state = RolloutState(
        rollout_id="r1",
        model_name="wine",
        version="2",
        stable_version="1",
        champion_before="1",
        plan_digest="",
        actor="me",
        started_at=datetime.now(UTC),
        phase=phase,
        weight=25,
    )
    home.save_state(state)
    with pytest.raises(UsageError):
        start(home)
    left = home.load_state()
    assert left is not None
    assert (left.phase, left.weight) == (Phase.FAILED, 0)
    assert "stack was stopped" in left.reason


def test_stopping_ends_also_a_canary_whose_start_was_killed(
    home: Home, tmp_path: Path, process: ProcessRecord
) -> None:
    """It is recorded before it serves, so that no kill leaves a server that nobody knows of."""
    stack(tmp_path, starting=process).save(home)
    assert stack_down(home) == []
    assert process.find() is None
    assert not home.stack_file.exists()
    assert stack_down(home) == []


def test_a_tracking_uri_holds_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative SQLite path is made absolute; the default is mlflow.db here; others stay as they are."""
    monkeypatch.chdir(tmp_path)
    assert absolute_tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_tracking_uri("") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_tracking_uri("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert absolute_tracking_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert absolute_tracking_uri("http://registry:5000") == "http://registry:5000"
