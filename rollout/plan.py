"""The plan of a rollout: weights to go through, how much evidence each needs, and what is checked."""

import hashlib
import itertools
import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollout.errors import PlanError

__all__ = [
    "AccuracyCheck",
    "AgreementCheck",
    "Checks",
    "ErrorRateCheck",
    "LatencyCheck",
    "Plan",
    "Step",
    "load_plan",
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Step(_Strict):
    """One weight with its analysis."""

    weight: int = Field(
        ge=1,
        le=99,
        description="Percent of the calls that go to the canary; below 100, since stable is what it is "
        "compared with, and the promotion sends it everything.",
    )
    min_requests: int = Field(
        100, ge=1, description="Calls that the canary must have answered in this step before it may pass."
    )
    min_seconds: float = Field(5, ge=0, description="Shortest stay, however much evidence there is.")
    max_seconds: float = Field(300, gt=0, description="Longest stay; then the rollout is inconclusive.")

    @model_validator(mode="after")
    def _check_stay(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")
        return self


class ErrorRateCheck(_Strict):
    """Are calls of the canary refused or lost more often than those of stable?"""

    enabled: bool = True


class LatencyCheck(_Strict):
    """Is the canary slower than stable, at any point of the distribution, by more than the tolerance?"""

    enabled: bool = True
    tolerance_ratio: float = Field(
        1.25, ge=1, description="The canary may take so many times as long as stable."
    )
    tolerance_seconds: float = Field(
        0.005, ge=0, description="And in any case so much longer; keeps scheduling noise out of the verdict."
    )


class AccuracyCheck(_Strict):
    """Is the accuracy that the canary itself exports good enough? Missing means no."""

    enabled: bool = True
    minimum: float = Field(0.70, ge=0, le=1, description="Smallest `ml_model_accuracy` that may be promoted.")


class AgreementCheck(_Strict):
    """Do canary and stable give the same output for the same rows?

    Rows that stable answered are replayed to the canary, off the path of the users.
    """

    enabled: bool = True
    minimum: float = Field(
        0.90,
        gt=0,
        lt=1,
        description="Smallest share of rows with the same output; `enabled = false` asks for none.",
    )
    min_rows: int = Field(100, ge=1, description="Rows that must have been compared before a step may pass.")
    value_tolerance_ratio: float = Field(
        0.05, ge=0, description="Regression: outputs that differ by less than this share count as the same."
    )


class Checks(_Strict):
    """What is checked. Every check that is enabled can abort the rollout."""

    error_rate: ErrorRateCheck = ErrorRateCheck()
    latency: LatencyCheck = LatencyCheck()
    accuracy: AccuracyCheck = AccuracyCheck()
    agreement: AgreementCheck = AgreementCheck()

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if not any(check.enabled for _, check in self):
            raise ValueError("every check is off, so that any canary would be promoted; enable at least one")
        return self


class Plan(_Strict):
    """How a rollout goes from weight 0 to promoted."""

    steps: tuple[Step, ...] = Field(
        (Step(weight=5), Step(weight=25, min_requests=300), Step(weight=50, min_requests=600)),
        strict=False,  # TOML has lists
        description="Weights, growing; at least one.",
    )
    checks: Checks = Checks()
    alpha: float = Field(
        0.01,
        ge=1e-6,
        lt=0.5,
        description="Chance of aborting a canary that is as good as stable, over the whole rollout. Evidence "
        "for less than one in a million takes more calls than a rollout has.",
    )
    deadline_seconds: float = Field(1800, gt=0, description="Longest time for all steps together.")
    poll_seconds: float = Field(1, gt=0, le=60, description="Time between two looks at the counters.")

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        weights = [step.weight for step in self.steps]
        if not weights:
            raise ValueError("steps must have at least one step")
        if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
            raise ValueError(f"weights must grow from step to step, found {weights}")
        shortest = sum(step.min_seconds for step in self.steps)
        if shortest > self.deadline_seconds:
            raise ValueError(
                f"deadline_seconds {self.deadline_seconds:g} is below the {shortest:g} s that the steps' "
                "min_seconds add up to, so that no canary could be promoted"
            )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's content: equal plans have equal digests, wherever they were written."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_plan(path: Path | None) -> Plan:
    """Read a plan from a TOML file; None gives the default plan.

    Raises `PlanError` with every problem of the file.
    """
    if path is None:
        return Plan()
    try:
        return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanError(str(path), [f"it cannot be read: {error.strerror}"]) from None
    except ValidationError as error:  # before ValueError, which it is
        raise PlanError(str(path), [_sentence(dict(problem)) for problem in error.errors()]) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise PlanError(str(path), [f"it is not valid TOML: {error}"]) from None


def _sentence(problem: dict[str, object]) -> str:
    location = problem["loc"]
    assert isinstance(location, tuple)
    place = ".".join(str(part) for part in location) or "plan"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "no such key"
    return f"{place}: {message}"
