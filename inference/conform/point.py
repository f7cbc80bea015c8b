"""A point of the protocol, and what came of checking it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.conform.subject import Subject

__all__ = ["Observation", "Outcome", "Point", "Verdict", "judged", "skipped"]


class Outcome(enum.StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    #: It could not be checked here, and says why.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Observation:
    """What was sent, what the protocol asks for, and what came back; for a skipped check `found` says why."""

    outcome: Outcome
    sent: str = ""
    expected: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One sentence that a server keeps or does not.

    A required point belongs to the core of the protocol; the others to extensions, to gRPC's own services, or to
    what the protocol leaves open.
    """

    id: str
    sentence: str
    required: bool
    check: "Callable[[Subject], Observation]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A point and what was observed."""

    point: Point
    observation: Observation

    @property
    def outcome(self) -> Outcome:
        """How the check ended."""
        return self.observation.outcome

    @property
    def breaks(self) -> bool:
        """Whether this alone makes the server one that does not conform."""
        return self.point.required and self.outcome is Outcome.FAIL


def judged(kept: bool, sent: str, expected: str, found: str) -> Observation:
    """Return an observation that passes when `kept`."""
    return Observation(Outcome.PASS if kept else Outcome.FAIL, sent, expected, found)


def skipped(reason: str) -> Observation:
    """Return an observation of nothing, with the reason."""
    return Observation(Outcome.SKIPPED, found=reason)
