"""What every way to start a rollout has in common: fire it, and say what came of it."""

import enum
from dataclasses import dataclass
from typing import Protocol

from rollout.webhook_relay.deployment import Deployment

__all__ = ["Answer", "Result", "Trigger"]


class Answer(enum.Enum):
    """What a trigger answers."""

    DONE = "done"
    DECLINED = "declined"
    AGAIN = "again"
    REFUSED = "refused"
    #: The relay ends while the command goes on; the next start takes up its result.
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt, in words for people; `after_seconds` is when the receiver wants to be asked again."""

    answer: Answer
    detail: str
    after_seconds: float | None = None


class Trigger(Protocol):
    """One way to start a rollout."""

    def fire(self, deployment: Deployment) -> Result:
        """Start the rollout and wait for its answer; failures are answers, too."""

    def result_of(self, deployment: Deployment) -> Result | None:
        """Say what came of an attempt that an earlier process began; None when nobody can tell."""
