"""The checks, one class each: fed at every look, asked for its verdict."""

import math
from typing import Protocol

import numpy as np

from rollout.counters import Counters, Histogram
from rollout.judge.sequential import OneSampleEProcess, TwoSampleEProcess
from rollout.judge.verdict import CheckResult, Verdict
from rollout.plan import AccuracyCheck, AgreementCheck, LatencyCheck

__all__ = ["Accuracy", "Agreement", "Check", "ErrorRate", "Latency"]


class Check(Protocol):
    """A check that lasts a whole rollout."""

    def result(self) -> CheckResult:
        """Say the verdict on everything seen so far."""


class ErrorRate:
    """Canary calls fail more often than stable calls."""

    def __init__(self, alpha: float) -> None:
        self._limit = 1 / alpha
        self._process = TwoSampleEProcess()
        self._stable, self._canary = [0, 0], [0, 0]

    def observe(self, new: Counters) -> None:
        """Add the calls since the last look."""
        stable, canary = new.stable, new.canary
        self._process.update(
            np.array([stable.errors]), stable.requests, np.array([canary.errors]), canary.requests
        )
        for tally, track in ((self._stable, stable), (self._canary, canary)):
            tally[0] += track.errors
            tally[1] += track.requests

    def result(self) -> CheckResult:
        """Fail when the evidence for a higher rate reaches the limit."""
        evidence = self._process.evidence
        (stable_errors, stable_calls), (errors, calls) = self._stable, self._canary
        figures = f"canary {errors} of {calls} calls failed, stable {stable_errors} of {stable_calls}"
        failed = evidence >= self._limit
        return CheckResult(
            "error_rate",
            Verdict.FAIL if failed else Verdict.PASS if calls and stable_calls else Verdict.INCONCLUSIVE,
            f"{figures}: " + ("more often than stable" if failed else "not more often than stable"),
            canary=errors / calls if calls else None,
            stable=stable_errors / stable_calls if stable_calls else None,
            evidence=evidence,
            limit=self._limit,
        )


class Latency:
    """Canary calls are slower than stable calls somewhere in the distribution, beyond the tolerance.

    At every bound t of the histogram it compares the share of stable calls slower than t with the share of
    canary calls slower than t plus the tolerance; the null "not slower by more than the tolerance" says that
    the second is at most the first, at every t.
    """

    def __init__(self, settings: LatencyCheck, alpha: float) -> None:
        self._settings = settings
        self._limit = 1 / alpha
        self._process: TwoSampleEProcess | None = None
        self._pairs: list[tuple[int, int]] = []
        self._stable: Histogram | None = None
        self._canary: Histogram | None = None

    def observe(self, new: Counters) -> None:
        """Add the calls since the last look. The bounds must be the same at every look."""
        stable, canary = new.stable.latency, new.canary.latency
        if self._process is None or self._stable is None or self._canary is None:
            self._pairs = self._pair(stable.bounds_seconds)
            self._process = TwoSampleEProcess(len(self._pairs))
            self._stable, self._canary = stable, canary
        else:
            self._stable, self._canary = _add(self._stable, stable), _add(self._canary, canary)
        self._process.update(
            np.array([stable.slower_than(i) for i, _ in self._pairs], dtype=np.int64),
            stable.total,
            np.array([canary.slower_than(j) for _, j in self._pairs], dtype=np.int64),
            canary.total,
        )

    def result(self) -> CheckResult:
        """Fail when the evidence for a slower canary reaches the limit."""
        if not (
            self._process and self._stable and self._canary and self._stable.total and self._canary.total
        ):
            return CheckResult("latency", Verdict.INCONCLUSIVE, "no calls of both tracks were timed yet")
        if not self._pairs:
            reason = "the tolerance is beyond the longest time measured; lower it or disable the check"
            return CheckResult("latency", Verdict.INCONCLUSIVE, reason)
        evidence = self._process.evidence
        failed = evidence >= self._limit
        p95, stable_p95 = self._canary.quantile(0.95), self._stable.quantile(0.95)
        margin = f"{self._settings.tolerance_ratio:g} × and {self._settings.tolerance_seconds * 1000:g} ms"
        return CheckResult(
            "latency",
            Verdict.FAIL if failed else Verdict.PASS,
            f"p95 canary ≤ {_ms(p95)}, stable ≤ {_ms(stable_p95)}: "
            + ("slower" if failed else "not slower")
            + f" by more than {margin}",
            canary=p95,
            stable=stable_p95,
            evidence=evidence,
            limit=self._limit,
        )

    def _pair(self, bounds: tuple[float, ...]) -> list[tuple[int, int]]:
        ratio, extra = self._settings.tolerance_ratio, self._settings.tolerance_seconds
        pairs = []
        for i, bound in enumerate(bounds):
            wanted = max(bound * ratio, bound + extra)
            j = next((j for j in range(i, len(bounds)) if bounds[j] >= wanted * (1 - 1e-9)), None)
            if j is not None:
                pairs.append((i, j))
        return pairs


class Agreement:
    """Canary and stable give different outputs for the same rows more often than allowed."""

    def __init__(self, settings: AgreementCheck, alpha: float) -> None:
        self._settings = settings
        self._limit = 1 / alpha
        self._process = OneSampleEProcess(1 - settings.minimum)
        self._rows = self._differing = 0

    def observe(self, rows: int, differing: int) -> None:
        """Add `rows` further rows that both versions answered, `differing` of them with other outputs."""
        self._rows += rows
        self._differing += differing
        self._process.update(differing, rows)

    def result(self) -> CheckResult:
        """Fail on evidence above the limit; pass when enough rows were seen and enough of them agree."""
        evidence = self._process.evidence
        share = 1 - self._differing / self._rows if self._rows else None
        enough = self._rows >= self._settings.min_rows
        figures = f"{self._rows - self._differing} of {self._rows} replayed rows agree"
        if evidence >= self._limit:
            verdict, reason = Verdict.FAIL, f"{figures}: below {self._settings.minimum:.0%}"
        elif share is None or not enough:
            verdict, reason = Verdict.INCONCLUSIVE, f"{figures}; {self._settings.min_rows} are needed"
        elif share < self._settings.minimum:
            verdict, reason = (
                Verdict.INCONCLUSIVE,
                f"{figures}: below {self._settings.minimum:.0%}, not surely",
            )
        else:
            verdict, reason = Verdict.PASS, f"{figures}: at least {self._settings.minimum:.0%}"
        return CheckResult("agreement", verdict, reason, canary=share, evidence=evidence, limit=self._limit)


class Accuracy:
    """The canary's own accuracy, as it exports it, is below the gate; missing counts as below."""

    def __init__(self, settings: AccuracyCheck) -> None:
        self._minimum = settings.minimum
        self._accuracy: float | None = None
        self._asked = False

    def observe(self, accuracy: float | None) -> None:
        """Take the gauge `ml_model_accuracy` of the canary; None when it is not exported."""
        self._asked = True
        self._accuracy = None if accuracy is None or math.isnan(accuracy) else accuracy

    def result(self) -> CheckResult:
        """Pass only a number at or above the gate."""
        if not self._asked:
            return CheckResult("accuracy", Verdict.INCONCLUSIVE, "the canary was not asked yet")
        if self._accuracy is None:
            return CheckResult("accuracy", Verdict.FAIL, "the canary exports no ml_model_accuracy")
        passed = self._accuracy >= self._minimum
        relation = "at least" if passed else "below"
        return CheckResult(
            "accuracy",
            Verdict.PASS if passed else Verdict.FAIL,
            f"ml_model_accuracy {self._accuracy:.3f} is {relation} {self._minimum:.2f}",
            canary=self._accuracy,
        )


def _add(one: Histogram, other: Histogram) -> Histogram:
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(one.bounds_seconds, counts)


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.3g} ms"
