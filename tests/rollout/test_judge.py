"""The judge: every verdict, its error rates, and that no evidence never passes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rollout.counters import Counters, Histogram, TrackCounters
from rollout.judge import Judge, Judgement, Look, Verdict
from rollout.local.envoy_config import LATENCY_BOUNDS_SECONDS as BOUNDS
from rollout.plan import AccuracyCheck, AgreementCheck, Checks, ErrorRateCheck, LatencyCheck, Plan, Step

STEP = Step(weight=10, min_requests=100)

#: Stable answers in 20 ms in the median, 40 ms at the 95th percentile.
STABLE_SECONDS, SPREAD = 0.020, 0.42


def only(check: str, **settings: float) -> Plan:
    """The default plan with one check, which keeps its share of alpha as if all were on."""
    kinds = {
        "error_rate": ErrorRateCheck,
        "latency": LatencyCheck,
        "accuracy": AccuracyCheck,
        "agreement": AgreementCheck,
    }
    checks = {name: kind(enabled=name == check) for name, kind in kinds.items()}
    if settings:
        checks[check] = kinds[check](**settings)
    return Plan(checks=Checks(**checks), alpha=0.01 / 3)


def histogram(seconds: NDArray[np.float64]) -> Histogram:
    places = np.searchsorted(BOUNDS, seconds, side="left")
    return Histogram(BOUNDS, tuple(int(n) for n in np.bincount(places, minlength=len(BOUNDS) + 1)))


def calls(requests: int, errors: int = 0, seconds: NDArray[np.float64] | None = None) -> TrackCounters:
    times = np.full(requests, STABLE_SECONDS) if seconds is None else seconds
    return TrackCounters(requests, errors, histogram(times))


def look(stable: TrackCounters, canary: TrackCounters, rows: int = 0, differing: int = 0) -> Look:
    counters = Counters(stable, canary)
    return Look(counters, counters, rows, differing, 0.95)


GOOD = look(calls(900), calls(100), 100)


def verdict(judgement: Judgement, check: str) -> Verdict:
    return next(result.verdict for result in judgement.checks if result.name == check)


def test_a_good_canary_passes_every_check() -> None:
    """As many errors, as fast, as accurate, the same outputs, split as set: pass, with six reasons."""
    judgement = Judge(Plan()).judge(STEP, GOOD)
    assert judgement.verdict is Verdict.PASS
    names = [check.name for check in judgement.checks]
    assert names == ["accuracy", "error_rate", "latency", "agreement", "health", "traffic"]
    assert all(check.reason for check in judgement.checks)


@pytest.mark.parametrize(
    ("change", "check", "expected"),
    [
        ({"accuracy": None}, "accuracy", Verdict.FAIL),
        ({"accuracy": 0.69}, "accuracy", Verdict.FAIL),
        ({"accuracy": float("nan")}, "accuracy", Verdict.FAIL),
        ({"accuracy": 0.70}, "accuracy", Verdict.PASS),
        ({"canary_healthy": False}, "health", Verdict.INCONCLUSIVE),
        ({"rows_compared": 99}, "agreement", Verdict.INCONCLUSIVE),
        ({"rows_compared": 0}, "agreement", Verdict.INCONCLUSIVE),
        ({"rows_differing": 30}, "agreement", Verdict.FAIL),
        ({"rows_differing": 3}, "agreement", Verdict.PASS),
        ({"rows_differing": 12}, "agreement", Verdict.INCONCLUSIVE),
        ({"new": Counters(calls(900), calls(100, 10))}, "error_rate", Verdict.FAIL),
        ({"new": Counters(calls(900), calls(100, 1))}, "error_rate", Verdict.PASS),
        ({"new": Counters(calls(0), calls(0))}, "error_rate", Verdict.INCONCLUSIVE),
        ({"new": Counters(calls(0), calls(0))}, "latency", Verdict.INCONCLUSIVE),
        ({"new": Counters(calls(0), calls(100))}, "error_rate", Verdict.INCONCLUSIVE),
        ({"new": Counters(calls(0), calls(100))}, "latency", Verdict.INCONCLUSIVE),
        ({"in_step": Counters(calls(891), calls(99))}, "traffic", Verdict.INCONCLUSIVE),
        ({"in_step": Counters(calls(500), calls(500))}, "traffic", Verdict.INCONCLUSIVE),
        ({"in_step": Counters(calls(9900), calls(100))}, "traffic", Verdict.INCONCLUSIVE),
        ({"in_step": Counters(calls(0), calls(100))}, "traffic", Verdict.INCONCLUSIVE),
        ({"in_step": Counters(calls(880), calls(120))}, "traffic", Verdict.PASS),
    ],
)
def test_one_thing_wrong_decides(change: dict[str, object], check: str, expected: Verdict) -> None:
    """Each check alone brings the step to its verdict, and names itself in the reason."""
    changed = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]  # fields of Look
    judgement = Judge(Plan()).judge(STEP, changed)
    assert verdict(judgement, check) is expected
    assert judgement.verdict is expected
    if expected is not Verdict.PASS:
        assert check in judgement.reason


def test_a_failure_outweighs_missing_evidence() -> None:
    """What failed is not hidden by what is still unknown."""
    nothing = Counters(calls(0), calls(0))
    judgement = Judge(Plan()).judge(STEP, Look(nothing, nothing, 0, 0, None))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reason.startswith("accuracy")


@given(
    stable=st.integers(0, 2000),
    canary=st.integers(0, 99),
    rows=st.integers(0, 200),
    accuracy=st.none() | st.floats(0, 1),
)
def test_no_evidence_never_passes(stable: int, canary: int, rows: int, accuracy: float | None) -> None:
    """Whatever else is seen: below `min_requests` the verdict is not pass, at any look."""
    judge = Judge(Plan())
    counters = Counters(calls(stable), calls(canary))
    for _ in range(3):
        judgement = judge.judge(STEP, Look(counters, counters, rows, 0, accuracy))
        assert judgement.verdict is not Verdict.PASS


def test_a_canary_without_calls_of_stable_beside_it_never_passes() -> None:
    """All calls went to the canary: there is nothing to compare it with, however many they were."""
    alone = Counters(calls(0), calls(5000, 5000))
    judge = Judge(only("error_rate"))
    assert verdict(judge.judge(STEP, Look(alone, alone, 0, 0, None)), "error_rate") is Verdict.INCONCLUSIVE


def test_one_error_is_no_verdict_wherever_it_falls() -> None:
    """A single failed call, even the canary's first, in a stable that never failed, does not abort."""
    judge = Judge(only("error_rate"))
    first = judge.judge(STEP, look(calls(9), calls(1, 1)))
    assert verdict(first, "error_rate") is not Verdict.FAIL
    later = judge.judge(STEP, look(calls(891), calls(99)))
    assert verdict(later, "error_rate") is Verdict.PASS


def test_false_aborts_stay_below_alpha_with_a_look_at_every_block() -> None:
    """600 rollouts of a canary as good as stable (0.5 % errors), 60 looks each: at most 1 % are aborted."""
    random = np.random.default_rng(1)
    aborted = 0
    for _ in range(600):
        judge = Judge(only("error_rate"))
        for _ in range(60):
            stable, canary = random.binomial((180, 20), 0.005)
            judgement = judge.judge(STEP, look(calls(180, stable), calls(20, canary)))
            if verdict(judgement, "error_rate") is Verdict.FAIL:
                aborted += 1
                break
    assert aborted <= 6


def test_a_rise_of_five_points_is_found_within_150_canary_calls() -> None:
    """Errors rise from 0.5 % to 5.5 %, a look every ten canary calls: the median rollout ends by 150."""
    random = np.random.default_rng(2)
    needed = []
    for _ in range(100):
        judge = Judge(only("error_rate"))
        for number in range(1, 101):  # noqa: B007  # used once the loop has ended
            new = look(calls(90, random.binomial(90, 0.005)), calls(10, random.binomial(10, 0.055)))
            if verdict(judge.judge(STEP, new), "error_rate") is Verdict.FAIL:
                break
        needed.append(10 * number)
    assert np.median(needed) <= 150
    assert max(needed) < 1000


def slowed(random: np.random.Generator, ratio: float, looks: int = 40) -> list[Verdict]:
    """Judge a canary that takes `ratio` times as long as stable; return the verdict at each look."""
    judge = Judge(only("latency"))
    verdicts = []
    for _ in range(looks):
        times = random.lognormal(np.log(STABLE_SECONDS), SPREAD, 200)
        times[180:] *= ratio
        new = look(calls(180, seconds=times[:180]), calls(20, seconds=times[180:]))
        verdicts.append(verdict(judge.judge(STEP, new), "latency"))
    return verdicts


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.2])
def test_a_canary_inside_the_tolerance_never_fails(ratio: float) -> None:
    """Faster, as fast, or slower by less than a quarter: 50 rollouts, none fails at any look."""
    random = np.random.default_rng(3)
    assert all(Verdict.FAIL not in slowed(random, ratio) for _ in range(50))


@pytest.mark.parametrize(("ratio", "looks"), [(2.0, 15), (4.0, 5)])
def test_a_canary_beyond_the_tolerance_fails(ratio: float, looks: int) -> None:
    """Twice as slow is found within 300 canary calls, four times within 100, in each of 20 rollouts."""
    random = np.random.default_rng(4)
    assert all(slowed(random, ratio, looks)[-1] is Verdict.FAIL for _ in range(20))


def test_a_slow_tail_fails_although_the_median_is_the_same() -> None:
    """One call in ten takes a second longer: the whole distribution is compared, not a mean."""
    random = np.random.default_rng(5)
    judge = Judge(only("latency"))
    for _ in range(10):
        times = random.lognormal(np.log(STABLE_SECONDS), SPREAD, 220)
        times[218:] += 1.0
        judgement = judge.judge(STEP, look(calls(200, seconds=times[:200]), calls(20, seconds=times[200:])))
    assert verdict(judgement, "latency") is Verdict.FAIL


def test_an_absolute_tolerance_forgives_milliseconds_on_a_fast_service() -> None:
    """From 0.5 ms to 4 ms is eight times as long, and still less than 5 ms more."""
    judge = Judge(only("latency"))
    for _ in range(50):
        new = look(calls(180, seconds=np.full(180, 0.0005)), calls(20, seconds=np.full(20, 0.004)))
        assert verdict(judge.judge(STEP, new), "latency") is Verdict.PASS


def test_a_tolerance_beyond_every_bucket_is_said_not_passed() -> None:
    """A check that could never fail does not pass either."""
    judge = Judge(only("latency", tolerance_seconds=1e6))
    judgement = judge.judge(STEP, look(calls(900), calls(100)))
    assert verdict(judgement, "latency") is Verdict.INCONCLUSIVE
    assert "tolerance" in judgement.reason


def test_disagreement_of_30_percent_is_found_within_a_few_looks_and_3_percent_passes() -> None:
    """64 rows a look against a minimum of 90 %: 30 % differing fails by the fifth look, 3 % never."""
    random = np.random.default_rng(6)
    for share, expected in ((0.30, Verdict.FAIL), (0.03, Verdict.PASS)):
        for _ in range(50):
            judge = Judge(only("agreement"))
            for _ in range(5):
                new = look(calls(90), calls(10), 64, random.binomial(64, share))
                found = verdict(judge.judge(STEP, new), "agreement")
            assert found is expected


def test_a_canary_that_stays_unhealthy_fails() -> None:
    """One late probe is no verdict; two looks in a row without a healthy canary are."""
    judge = Judge(only("error_rate"))
    sick = dataclasses.replace(GOOD, canary_healthy=False)
    assert verdict(judge.judge(STEP, sick), "health") is Verdict.INCONCLUSIVE
    assert verdict(judge.judge(STEP, GOOD), "health") is Verdict.PASS
    assert verdict(judge.judge(STEP, sick), "health") is Verdict.INCONCLUSIVE
    assert judge.judge(STEP, sick).verdict is Verdict.FAIL


def test_a_regression_has_no_accuracy_check() -> None:
    """A model that predicts values exports no accuracy, and is judged by everything else."""
    judgement = Judge(Plan(), classifies=False).judge(STEP, dataclasses.replace(GOOD, accuracy=None))
    assert judgement.verdict is Verdict.PASS
    assert "accuracy" not in [check.name for check in judgement.checks]


def test_calls_of_a_wrong_split_do_not_count() -> None:
    """A window whose split is not the one set is void: errors in it are no evidence."""
    judge = Judge(only("error_rate"))
    for _ in range(20):
        judgement = judge.judge(STEP, look(calls(500), calls(500, 250)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert verdict(judgement, "error_rate") is Verdict.INCONCLUSIVE


def test_disabled_checks_are_not_asked() -> None:
    """A regression model has no accuracy; switched off, its absence does not matter."""
    judgement = Judge(only("error_rate")).judge(STEP, dataclasses.replace(GOOD, accuracy=None))
    assert [check.name for check in judgement.checks] == ["error_rate", "health", "traffic"]
    assert judgement.verdict is Verdict.PASS


def test_the_checks_share_one_alpha() -> None:
    """Each of three tests gets a third of alpha, so that the rollout as a whole keeps it."""
    judgement = Judge(Plan(alpha=0.03)).judge(STEP, GOOD)
    limits = [check.limit for check in judgement.checks if check.limit]
    assert limits == pytest.approx([100.0] * 3)
    alone = Judge(only("error_rate")).judge(STEP, GOOD)
    assert [check.limit for check in alone.checks if check.limit] == pytest.approx([300.0])


def test_a_judgement_is_plain_data() -> None:
    """For evidence files: every figure under its name."""
    plain = Judge(Plan()).judge(STEP, GOOD).as_dict()
    assert plain["verdict"] == "pass"
    assert plain["checks"][0]["name"] == "accuracy"
