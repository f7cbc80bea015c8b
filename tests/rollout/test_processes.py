"""Processes that outlive a command: started, found again, ended, and never mistaken for others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rollout.errors import InfrastructureError
from rollout.local import processes
from rollout.local.processes import (
    ProcessRecord,
    ended,
    python_environment,
    server_environment,
    start_detached,
    stop,
)

PATIENT = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + PATIENT

Start = Callable[[str], ProcessRecord]
Eventually = Callable[..., None]


@pytest.fixture
def start(tmp_path: Path, eventually: Eventually) -> Iterator[Start]:
    """Start Python programs and wait until they said `up`; all of them are ended afterwards."""
    started: list[ProcessRecord] = []

    def run(program: str) -> ProcessRecord:
        log = tmp_path / f"{len(started)}.log"
        started.append(start_detached([sys.executable, "-c", program], os.environ, log))
        eventually(lambda: log.read_text().startswith("up"))
        return started[-1]

    yield run
    for record in started:
        stop(record, 0)


def runs(pid: int) -> bool:
    """Whether a process runs: not gone, not waiting to be reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_is_found_by_what_was_recorded(start: Start) -> None:
    """The record survives being written to a file; another command finds the process by it."""
    record = start(PATIENT)
    copy = ProcessRecord.model_validate_json(record.model_dump_json())
    found = copy.find()
    assert found is not None
    assert found.pid == record.pid
    assert ended(record) is None


def test_a_process_has_a_session_of_its_own(start: Start) -> None:
    """Ctrl-C in the terminal of the command does not reach it."""
    record = start(PATIENT)
    assert os.getsid(record.pid) == record.pid != os.getsid(0)


def test_a_process_that_heeds_sigterm_ends_by_itself(start: Start) -> None:
    """Stopped within the grace; nothing is left, not even a zombie; stopping again is fine."""
    record = start(PATIENT)
    assert stop(record, 10) is True
    assert record.find() is None
    assert not psutil.pid_exists(record.pid)
    assert stop(record, 10) is True


def test_a_process_that_ignores_sigterm_is_killed(start: Start) -> None:
    """After the grace it is killed, and that is told."""
    record = start(STUBBORN)
    assert stop(record, 0.2) is False
    assert record.find() is None


def test_another_command_stops_it_as_well(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that this one did not start, as far as it knows, is stopped by its record."""
    record = start(PATIENT)
    monkeypatch.setattr(processes, "_started", {})
    assert ended(record) is None
    assert stop(record, 10) is True
    assert ended(record) == -1


def test_a_reused_number_is_never_touched(start: Start) -> None:
    """A record whose start time is another's finds nothing and stops nothing."""
    record = start(PATIENT)
    other = record.model_copy(update={"started": "another boot/1"})
    assert other.find() is None
    assert stop(other, 0) is True
    assert record.find() is not None


def test_the_exit_code_of_a_process_of_ours_is_known(start: Start, eventually: Eventually) -> None:
    """A program that ended is not found any more, and its code is told."""
    record = start("import sys; print('up', flush=True); sys.exit(7)")
    eventually(lambda: ended(record) is not None)
    assert ended(record) == 7
    assert record.find() is None


def test_a_log_begins_anew(tmp_path: Path, start: Start) -> None:
    """What an earlier process said under the same name cannot be taken for the new one's words."""
    (tmp_path / "0.log").write_text("serving on port 1\n")
    start(PATIENT)
    assert (tmp_path / "0.log").read_text() == "up\n"


def test_a_program_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    """A missing program and a log that cannot be written are sentences."""
    with pytest.raises(InfrastructureError, match="cannot be started: there is no such program"):
        start_detached(["/no/such/program"], {}, tmp_path / "log")
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot be started with log"):
        start_detached([sys.executable, "-c", ""], {}, tmp_path / "file" / "log")


def test_a_program_begins_only_when_it_is_recorded(tmp_path: Path, eventually: Eventually) -> None:
    """Whoever fails to record a process, or is killed over it, leaves nothing running."""
    mark, log = tmp_path / "began", tmp_path / "log"
    command = [sys.executable, "-c", f"open({str(mark)!r}, 'w').close()"]

    def fail(_record: ProcessRecord) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        start_detached(command, os.environ, log, on_start=fail)
    recorder = (
        "import os, pathlib, signal; from rollout.local.processes import start_detached\n"
        "def record(process): print(process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"start_detached({command!r}, os.environ, pathlib.Path({str(log)!r}), on_start=record)"
    )
    killed = subprocess.run([sys.executable, "-c", recorder], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    eventually(lambda: not runs(int(killed.stdout)))
    assert not mark.exists()
    recorded: list[ProcessRecord] = []
    start_detached(command, os.environ, log, on_start=recorded.append)
    eventually(mark.exists)
    eventually(lambda: ended(recorded[0]) == 0)


def test_our_packages_are_importable_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """The environment of a child names our root once, before what was there."""
    monkeypatch.setenv("PYTHONPATH", f"/somewhere{os.pathsep}/somewhere")
    monkeypatch.chdir(tmp_path)
    environment = python_environment()
    root = str(Path(__file__).resolve().parents[2])
    assert environment["PYTHONPATH"].split(os.pathsep) == [root, "/somewhere"]
    program = "import json, rollout.plan; print(json.dumps(rollout.plan.__name__))"
    record = start_detached([sys.executable, "-c", program], environment, tmp_path / "log")
    eventually(lambda: ended(record) is not None)
    assert json.loads((tmp_path / "log").read_text()) == "rollout.plan"


def test_a_server_gets_what_it_needs_of_the_shell_and_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to programs, registry and store is passed on; what would change how a server behaves is not."""
    needed = ("PATH", "LC_ALL", "SSL_CERT_FILE", "MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID", "https_proxy")
    settings = ("PREDICTION_LOG_SAMPLE_RATE", "GRPC_TLS_CERT_FILE", "SERVER_WORKERS", "MODEL_MIN_ACCURACY")
    settings += (
        "PREDICT_API_TOKEN",
        "MLFLOW_MODEL_STAGE",
        "GITHUB_OUTPUT",
        "DRIFT_MIN_ROWS",
        "PYTHONWARNINGS",
    )
    for name in (*needed, *settings):
        monkeypatch.setenv(name, "x")
    environment = server_environment()
    assert environment.keys() >= {*needed, "PYTHONPATH", "PYTHONUNBUFFERED"}
    assert not environment.keys() & {*settings}
