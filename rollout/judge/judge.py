"""One judge a rollout: keeps the checks, and says what one look at the evidence means."""

import math
from dataclasses import dataclass
from typing import Final

from rollout.counters import Counters
from rollout.judge.checks import Accuracy, Agreement, Check, ErrorRate, Latency
from rollout.judge.verdict import CheckResult, Judgement, Verdict
from rollout.plan import Plan, Step

__all__ = ["Judge", "Look"]

#: How many standard deviations the observed split may lie from the weight: 5 is a chance of 6 in 10 million.
_SPLIT_SIGMAS: Final = 5.0

#: Looks in a row at which the canary must be unhealthy: one may be a probe that a busy machine answered late.
_UNHEALTHY_LOOKS: Final = 2


@dataclass(frozen=True, slots=True)
class Look:
    """What was learnt since the last look.

    `new` counts calls since the last look, `in_step` since the step began. `rows_compared` rows were answered
    by both versions since the last look, `rows_differing` of them differently. `accuracy` is the canary's own
    gauge, None when it exports none. `canary_healthy` says whether it still takes traffic.
    """

    new: Counters
    in_step: Counters
    rows_compared: int
    rows_differing: int
    accuracy: float | None
    canary_healthy: bool = True


class Judge:
    """Judges one rollout from its first call to its last."""

    def __init__(self, plan: Plan, *, classifies: bool = True) -> None:
        """A model that does not classify has no accuracy, so that check is left out for it."""
        checks = plan.checks
        sharing = sum(check.enabled for check in (checks.error_rate, checks.latency, checks.agreement))
        alpha = plan.alpha / max(sharing, 1)
        self._error_rate = ErrorRate(alpha) if checks.error_rate.enabled else None
        self._latency = Latency(checks.latency, alpha) if checks.latency.enabled else None
        self._agreement = Agreement(checks.agreement, alpha) if checks.agreement.enabled else None
        self._accuracy = Accuracy(checks.accuracy) if checks.accuracy.enabled and classifies else None
        self._unhealthy_looks = 0

    def judge(self, step: Step, look: Look) -> Judgement:
        """Add `look` to the evidence and say what `step` has come to.

        Calls of a window whose split is not the one set do not count: the tests compare calls that the
        weight alone sent to one track or the other.
        """
        void = _split_is_off(step, look.in_step)
        if self._error_rate and not void:
            self._error_rate.observe(look.new)
        if self._latency and not void:
            self._latency.observe(look.new)
        if self._agreement:
            self._agreement.observe(look.rows_compared, look.rows_differing)
        if self._accuracy and look.canary_healthy:  # else it cannot answer, which `health` judges
            self._accuracy.observe(look.accuracy)
        checks: list[Check | None] = [self._accuracy, self._error_rate, self._latency, self._agreement]
        results = [check.result() for check in checks if check is not None]
        results.append(self._health(look))
        results.append(_traffic(step, look.in_step, void=void))
        return _combine(tuple(results))

    def _health(self, look: Look) -> CheckResult:
        self._unhealthy_looks = 0 if look.canary_healthy else self._unhealthy_looks + 1
        if look.canary_healthy:
            return CheckResult("health", Verdict.PASS, "the canary takes traffic")
        lasting = self._unhealthy_looks >= _UNHEALTHY_LOOKS
        verdict = Verdict.FAIL if lasting else Verdict.INCONCLUSIVE
        return CheckResult("health", verdict, "the canary takes no traffic (crashed, hung or not ready)")


def _combine(results: tuple[CheckResult, ...]) -> Judgement:
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        reasons = [f"{result.name}: {result.reason}" for result in results if result.verdict is verdict]
        if reasons:
            return Judgement(verdict, "; ".join(reasons), results)
    return Judgement(Verdict.PASS, "every check passed", results)


def _split_is_off(step: Step, in_step: Counters) -> bool:
    """Tell whether the observed split lies outside what chance makes of the weight."""
    share = in_step.canary_share
    if share is None:
        return False
    wanted = step.weight / 100
    total = in_step.canary.requests + in_step.stable.requests
    spread = math.sqrt(wanted * (1 - wanted) / total)
    return abs(share - wanted) > _SPLIT_SIGMAS * spread + 1 / total


def _traffic(step: Step, in_step: Counters, *, void: bool) -> CheckResult:
    """Is there enough traffic, and is it split as the weight says?"""
    calls, share = in_step.canary.requests, in_step.canary_share
    total = calls + in_step.stable.requests
    figures = f"{share or 0:.1%} of {total} calls went to the canary, {step.weight} % was set"
    if void:
        reason = f"{figures}: the split is not as set, and the calls do not count"
        return CheckResult("traffic", Verdict.INCONCLUSIVE, reason, canary=share)
    if not total:
        reason = "no call arrived, neither at stable nor at the canary; a rollout needs traffic"
        return CheckResult("traffic", Verdict.INCONCLUSIVE, reason)
    if calls < step.min_requests:
        reason = f"the canary answered {calls} of the {step.min_requests} calls that the step asks for"
        return CheckResult("traffic", Verdict.INCONCLUSIVE, reason, canary=share)
    return CheckResult("traffic", Verdict.PASS, figures, canary=share)
