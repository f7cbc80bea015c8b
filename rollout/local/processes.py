"""Processes that outlive the command that started them, and that only we end."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, ConfigDict

from rollout.errors import InfrastructureError

__all__ = [
    "ProcessRecord",
    "ended",
    "python_environment",
    "python_module",
    "server_environment",
    "start_detached",
    "stop",
]

#: What a server needs of the shell that starts it: the system's own variables, and the way to a registry and to
#: the store behind it. Settings of servers are not among them, so that no shell changes what a stack does.
_PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT", "USERPROFILE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    }
)
_PASSED_ON_PREFIXES: Final = (
    *("LC_", "XDG_", "PYTHON", "SSL_", "OTEL_", "COALMINE_", "COVERAGE_", "COV_CORE_"),
    *("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "DATABRICKS_"),
)
#: Of those prefixes, but settings all the same: which model a server serves, and how it takes warnings.
_KEPT_BACK_PREFIXES: Final = ("MLFLOW_MODEL_", "PYTHONWARNINGS")

#: POSIX sh: becomes the program that its arguments name once it has read a line; at the end of input it ends.
_WAITING_FOR_A_LINE: Final = ("/bin/sh", "-c", 'read -r line && exec "$@" </dev/null', "start")

# Keeps the handles of processes that this very process started, so that they are reaped when they end.
_started: Final[dict[int, "subprocess.Popen[bytes]"]] = {}


class ProcessRecord(BaseModel):
    """A process, by its number and its start: a reused number is never mistaken for it.

    `started` is opaque text that stays the same when the clock of the machine is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: str

    def find(self) -> psutil.Process | None:
        """Return the running process, or None when it has ended."""
        handle = _started.get(self.pid)
        if handle is not None:
            handle.poll()
        try:
            process = psutil.Process(self.pid)
            same = _start_of(process) == self.started
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.NoSuchProcess, FileNotFoundError):
            return None


def start_detached(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    on_start: Callable[[ProcessRecord], None] = lambda _process: None,
) -> ProcessRecord:
    """Start a process that a Ctrl-C in this terminal does not reach; its output goes to `log`.

    The program begins only once `on_start` has recorded it: killed before that, this process leaves nothing.
    The log begins anew: what an earlier process said there must not be taken for this one's words.
    Raises `InfrastructureError` when it cannot be started, and what `on_start` raises.
    """
    if shutil.which(arguments[0]) is None:
        raise InfrastructureError(f"{arguments[0]} cannot be started: there is no such program")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            handle = subprocess.Popen(
                [*_WAITING_FOR_A_LINE, *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                bufsize=0,
            )
    except OSError as error:
        raise InfrastructureError(
            f"{arguments[0]} cannot be started with log {log}: {error.strerror}"
        ) from None
    assert handle.stdin is not None
    with handle.stdin as gate:
        try:
            _started[handle.pid] = handle
            record = ProcessRecord(pid=handle.pid, started=_start_of(psutil.Process(handle.pid)))
            on_start(record)
            with contextlib.suppress(BrokenPipeError):  # it was ended meanwhile, which its user will find
                gate.write(b"\n")
        except BaseException:  # also Ctrl-C: a process without a record must not stay
            handle.kill()
            raise
    return record


def _start_of(process: psutil.Process) -> str:
    """Tell when a process started: on Linux in ticks since this boot, which no change of the clock moves."""
    if sys.platform != "linux":
        return f"{process.create_time():.0f}"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # proc(5): the 22nd field; the second is the command in brackets, which may hold anything.
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}/{ticks}"


def stop(record: ProcessRecord, grace_seconds: float) -> bool:
    """Ask a process to end, wait, then kill it; return whether it ended by itself. Fine when it is gone."""
    process = record.find()
    if process is None:
        return True
    try:
        process.terminate()
        process.wait(grace_seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended between the two
            process.kill()
            process.wait(5)
        return False
    finally:
        handle = _started.pop(record.pid, None)
        if handle is not None:
            # psutil may have reaped it; then poll() finds no child and calls it ended, which it is.
            handle.poll()
    return True


def ended(record: ProcessRecord) -> int | None:
    """Return the exit code of a process of ours that has ended, -1 when it is unknown, None while it runs."""
    handle = _started.get(record.pid)
    if handle is not None:
        return handle.poll()
    return None if record.find() else -1


def python_environment() -> dict[str, str]:
    """Return this process's environment with our packages importable from any working directory."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def server_environment() -> dict[str, str]:
    """Return `python_environment()` without what this shell sets for other servers than those of a stack."""
    return {name: value for name, value in python_environment().items() if _is_passed_on(name.upper())}


def _is_passed_on(name: str) -> bool:
    return name in _PASSED_ON or (
        name.startswith(_PASSED_ON_PREFIXES) and not name.startswith(_KEPT_BACK_PREFIXES)
    )


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
