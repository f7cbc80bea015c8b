"""The state of a rollout, written ahead of every action, and the evidence that it leaves."""

import contextlib
import enum
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.errors import ExitCode, InfrastructureError, UsageError

__all__ = ["Home", "Phase", "RolloutState", "why_unreadable", "write_durably"]


class Phase(enum.StrEnum):
    """Where a rollout stands."""

    STARTING = "starting"
    STEPPING = "stepping"
    PROMOTING = "promoting"
    MOVING_ALIAS = "moving_alias"
    ABORTING = "aborting"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"


#: Phases in which nothing is left to do.
_ENDED: Final = frozenset({Phase.PROMOTED, Phase.ABORTED, Phase.INCONCLUSIVE, Phase.FAILED})


class RolloutState(BaseModel):
    """One rollout. `weight` is what was last asked for; `champion_before` is the alias at the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout_id: str
    model_name: str
    version: str
    stable_version: str
    champion_before: str | None
    plan_digest: str
    actor: str
    started_at: datetime
    phase: Phase
    step: int = 0
    steps: int = 0
    weight: int = 0
    reason: str = ""
    #: What keeps an abort from ending; running the command again tries once more. Empty when nothing does.
    problem: str = ""
    #: Digest of the bundle that the canary served and the judge judged; empty until it runs.
    digest: str = ""
    #: How an abort will end; None while nothing was decided.
    verdict: ExitCode | None = None

    @property
    def model_uri(self) -> str:
        """The immutable URI of the version being rolled out."""
        return f"models:/{self.model_name}/{self.version}"

    @property
    def ended(self) -> bool:
        """True when nothing is left to do."""
        return self.phase in _ENDED


class Home:
    """The directory that holds one local stack and its rollouts (`.coalmine` by default)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    @property
    def state_file(self) -> Path:
        """Where the current rollout's state is kept."""
        return self.directory / "rollout.json"

    @property
    def stack_file(self) -> Path:
        """Where the stack's processes are recorded."""
        return self.directory / "stack.json"

    @property
    def starting_file(self) -> Path:
        """Where the processes of a stack that does not serve yet are recorded; gone once it does."""
        return self.directory / "starting.json"

    @property
    def logs(self) -> Path:
        """Where the servers' standard output goes: the prediction log."""
        return self.directory / "logs"

    def evidence(self, rollout_id: str) -> Path:
        """Return the directory that holds what one rollout leaves behind."""
        return self.directory / "rollouts" / rollout_id

    def refuse_file(self) -> None:
        """Raise `UsageError` when something that is no directory stands where the directory should be."""
        if self.directory.exists() and not self.directory.is_dir():
            raise UsageError(
                f"{self.directory} is a file, and the home of a stack is a directory: choose another with --home"
            )

    def load_state(self) -> RolloutState | None:
        """Return the last rollout's state, or None before the first. Raises `InfrastructureError`."""
        try:
            return RolloutState.model_validate_json(self.state_file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise InfrastructureError(
                f"the rollout state {self.state_file} cannot be read: {why_unreadable(error)}; "
                "run `invoke stack-down`, move the file away and start the stack again"
            ) from None

    def save_state(self, state: RolloutState) -> None:
        """Write the state so that it survives a kill or a power cut. Raises `InfrastructureError`."""
        write_durably(self.state_file, state.model_dump_json(indent=1))

    def record(self, rollout_id: str, event: dict[str, Any]) -> None:
        """Append one event to the rollout's evidence. Raises `InfrastructureError`."""
        directory = self.evidence(rollout_id)
        line = orjson.dumps({"at": datetime.now(UTC).isoformat(), **event}, default=str).decode()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with (directory / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _disk_error(directory, error) from None

    @contextlib.contextmanager
    def only_operator(self, doing: str) -> Iterator[None]:
        """Hold the lock that lets one command change the stack. Raises `UsageError` when another holds it."""
        self.refuse_file()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.directory / "operator.lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{doing} needs the stack in {self.directory} for itself, and another command holds it: "
                "wait for it to end, or stop it (Ctrl-C there rolls back)"
            ) from None
        except OSError as error:
            raise _disk_error(self.directory, error) from None
        try:
            yield
        finally:
            lock.release()


def why_unreadable(error: OSError | ValidationError) -> str:
    """Say in a few words why a record cannot be read."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place} is wrong ({problem['msg'].lower()})" if place else "it is damaged"


def write_durably(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` in one move, file and directory synced to the disk. Raises `InfrastructureError`."""
    aside = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        if os.name != "nt":  # Windows cannot open a directory
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    except OSError as error:
        raise _disk_error(path, error) from None


def _disk_error(path: Path, error: OSError) -> InfrastructureError:
    return InfrastructureError(
        f"{path} cannot be written: {error.strerror}; free space or choose another directory with --home"
    )
