"""What the judge says: one verdict a check, one for the step, each with its reason."""

import enum
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CheckResult", "Judgement", "Verdict"]


class Verdict(enum.StrEnum):
    """The answer of the statistics."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The verdict of one check and the figures behind it.

    `canary` and `stable` are the figures compared (shares from 0 to 1, or seconds for latency; None where
    there are none). `evidence` is the e-value (or 0 for a check without one); it fails at `limit`.
    """

    name: str
    verdict: Verdict
    reason: str
    canary: float | None = None
    stable: float | None = None
    evidence: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """All checks at one look, and what follows from them."""

    verdict: Verdict
    reason: str
    checks: tuple[CheckResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for logs and reports."""
        return asdict(self)
