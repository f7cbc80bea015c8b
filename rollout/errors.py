"""Everything that stops a rollout, each with the exit code that the specification gives it."""

import enum

__all__ = [
    "AliasConflictError",
    "ExitCode",
    "InfrastructureError",
    "PlanError",
    "RolloutError",
    "UsageError",
]


class ExitCode(enum.IntEnum):
    """How a rollout command ends."""

    #: The canary became stable.
    PROMOTED = 0
    #: The judge refused the canary; stable serves as before.
    ABORTED = 1
    #: What was asked for cannot be: a wrong value, a model that does not exist, a rollout that already runs.
    USAGE = 2
    #: The evidence did not suffice before the deadline; rolled back.
    INCONCLUSIVE = 3
    #: Something outside failed; stable was left serving.
    INFRASTRUCTURE = 4


class RolloutError(Exception):
    """Base of all errors of this package; the message says what was asked, what exists and what to do."""

    exit_code = ExitCode.INFRASTRUCTURE


class UsageError(RolloutError):
    """What was asked for cannot be."""

    exit_code = ExitCode.USAGE


class PlanError(UsageError):
    """A plan file that cannot be followed; `problems` has one sentence a key."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        super().__init__("\n".join([f"the plan {source} cannot be followed:", *(f"  {p}" for p in problems)]))


class InfrastructureError(RolloutError):
    """A process, the registry, Envoy or the disk failed."""


class AliasConflictError(RolloutError):
    """Somebody else moved an alias that a rollout was about to move."""
