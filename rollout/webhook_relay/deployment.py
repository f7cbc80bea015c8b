"""What the relay keeps of one wanted rollout, and the patterns that everything from outside must match."""

import enum
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Deployment", "Source", "State", "Wanted", "why_unusable"]

#: Names that need no quoting anywhere: not in a URI, a command line, a payload or a Kubernetes parameter.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: MLflow counts versions from 1 up.
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


class State(enum.StrEnum):
    """Where a wanted rollout stands."""

    PENDING = "pending"
    RUNNING = "running"
    #: The command promoted it, or GitHub or Argo took it.
    DONE = "done"
    #: The command decided against it: aborted or inconclusive. That is an answer, so it is not tried again.
    DECLINED = "declined"
    #: It could not be triggered.
    FAILED = "failed"
    #: The alias names something else by now, or what it names was acted on.
    SUPERSEDED = "superseded"


class Source(enum.StrEnum):
    """How the relay learned of it."""

    WEBHOOK = "webhook"
    POLL = "poll"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An alias of a model that names a version."""

    name: str
    alias: str
    version: str

    @property
    def model_uri(self) -> str:
        """The immutable URI of the version."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One wanted rollout as the inbox keeps it; times are seconds since 1970.

    `key` is random and stays through all attempts, for receivers that tell repetitions by it. `exit_code` is how
    the command of this attempt ended, None while that is not known.
    """

    id: int
    wanted: Wanted
    state: State
    source: Source
    key: str
    attempts: int
    not_before: float
    exit_code: int | None
    detail: str
    created_at: float
    updated_at: float


def why_unusable(name: str, version: str) -> str:
    """Say why a name or a version cannot be handed on; empty when both can."""
    if not _NAME.fullmatch(name):
        return f"the model name {name[:60]!r} has other characters than letters, digits, '.', '_' and '-'"
    if not _VERSION.fullmatch(version):
        return f"the version {version[:60]!r} of {name} is no whole number from 1 up"
    return ""
