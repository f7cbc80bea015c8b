"""What a rollout tells those who watch it: the screen, the evidence file, the report."""

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rollout.counters import TrackCounters
from rollout.judge import Judgement

__all__ = ["Kind", "LookData", "Notify", "RolloutEvent"]


class Kind(enum.StrEnum):
    """What happened."""

    STARTED = "started"
    CANARY_READY = "canary_ready"
    WEIGHT_SET = "weight_set"
    LOOK = "look"
    STEP_PASSED = "step_passed"
    PROMOTING = "promoting"
    ABORTING = "aborting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class LookData:
    """The figures of one look: counters since the step began, and the judgement."""

    step: int
    steps: int
    weight: int
    seconds_in_step: float
    stable: TrackCounters
    canary: TrackCounters
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One event: what happened, a sentence for people, and figures for machines."""

    kind: Kind
    message: str
    data: dict[str, Any]
    look: LookData | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: `kind`, `message`, and the figures."""
        figures = asdict(self.look) if self.look else {}
        return {"kind": str(self.kind), "message": self.message, **self.data, **figures}


Notify = Callable[[RolloutEvent], None]
