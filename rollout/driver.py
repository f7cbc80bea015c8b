"""What a rollout needs from the place where it happens; `rollout.local` is one such place."""

from dataclasses import dataclass
from typing import Protocol

from rollout.counters import Counters
from rollout.errors import ExitCode, RolloutError

__all__ = ["CanaryCondition", "CanaryRefusedError", "Comparison", "Driver", "ServedModel"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server says that it serves. `classifies` is False for a regression."""

    name: str
    version: str
    digest: str
    classifies: bool = True


@dataclass(frozen=True, slots=True)
class CanaryCondition:
    """How the canary is: its own accuracy (None when not exported), and whether it takes traffic."""

    accuracy: float | None
    healthy: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows that both versions answered since the last comparison, and how many of them differently."""

    rows: int
    differing: int


class CanaryRefusedError(RolloutError):
    """The canary's server refused the model: a broken bundle, or a gate not passed."""

    exit_code = ExitCode.ABORTED


class Driver(Protocol):
    """Starts and stops the canary, sets and confirms weights, reads counters. Every method may raise
    `InfrastructureError`.
    """

    def stable_model(self) -> ServedModel:
        """Ask stable what it serves."""

    def start_canary(self, model_uri: str) -> ServedModel:
        """Start a canary at weight 0 and return once it takes traffic.

        Raises `CanaryRefusedError` when its server refuses the model.
        """

    def set_weight(self, weight: int, label: str) -> None:
        """Send `weight` percent of the calls to the canary; return only once that is confirmed."""

    def read_counters(self) -> Counters:
        """Read the calls to both tracks since the counters began."""

    def require_stable(self) -> None:
        """Return when stable takes traffic; raise `InfrastructureError` with the way out when it does not."""

    def canary_condition(self) -> CanaryCondition:
        """Ask how the canary is."""

    def compare_outputs(self, value_tolerance_ratio: float) -> Comparison:
        """Replay rows that stable answered since the last comparison to the canary."""

    def swap_stable(self, model_uri: str) -> ServedModel:
        """Make stable serve `model_uri` without losing a call; return what it serves. May be repeated.

        A swap that somebody asked for before and did not wait for ends first, so the last one asked for wins.
        """

    def stop_canary(self) -> None:
        """End the canary if there is one. The weight must be 0."""
