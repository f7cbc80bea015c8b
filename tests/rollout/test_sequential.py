"""The e-processes against numbers from an independent formula, and against their own laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.judge import OneSampleEProcess, TwoSampleEProcess

LIFTS = (1.5, 2.0, 4.0, 8.0, 16.0)

Block = tuple[int, int, int, int]  # stable bad, stable calls, canary bad, canary calls


def bernoulli(bad: int, calls: int, rate: float) -> float:
    return rate**bad * (1 - rate) ** (calls - bad)


def two_sample(blocks: list[Block]) -> float:
    """Compute the e-value by multiplying plain likelihoods (Turner, Ly and Grünwald, section 3)."""
    total = 0.0
    for lift in LIFTS:
        product, past_bad, past_calls = 1.0, 0.5, 100.0
        for stable_bad, stable, canary_bad, canary in blocks:
            rate = past_bad / past_calls
            worse = lift * rate / (1 - rate + lift * rate)
            mixed = (stable * rate + canary * worse) / (stable + canary)
            product *= bernoulli(stable_bad, stable, rate) * bernoulli(canary_bad, canary, worse)
            product /= bernoulli(stable_bad + canary_bad, stable + canary, mixed)
            past_bad, past_calls = past_bad + stable_bad, past_calls + stable
        total += product / len(LIFTS)
    return total


def one_sample(bad: int, trials: int, limit: float) -> float:
    worse = [lift * limit / (1 - limit + lift * limit) for lift in LIFTS]
    ratios = [bernoulli(bad, trials, rate) / bernoulli(bad, trials, limit) for rate in worse]
    return sum(ratios) / len(ratios)


def feed(process: TwoSampleEProcess, block: Block) -> None:
    stable_bad, stable, canary_bad, canary = block
    process.update(np.array([stable_bad]), stable, np.array([canary_bad]), canary)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    stable, canary = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    return draw(st.integers(0, stable)), stable, draw(st.integers(0, canary)), canary


@given(st.lists(blocks(), max_size=6))
def test_the_two_sample_evidence_is_that_of_the_formula(seen: list[Block]) -> None:
    """Block by block the same number as a plain product of likelihoods, to 1 in 10⁶."""
    process = TwoSampleEProcess()
    assert process.evidence == pytest.approx(1.0)
    for block in seen:
        feed(process, block)
    assert process.evidence == pytest.approx(two_sample(seen), rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=5), st.floats(0.02, 0.5))
def test_the_one_sample_evidence_is_that_of_the_formula(seen: list[tuple[int, int]], limit: float) -> None:
    """Looks add up: however the trials were cut, the evidence is that of all of them."""
    process = OneSampleEProcess(limit)
    for bad, good in seen:
        process.update(bad, bad + good)
    bad, trials = sum(bad for bad, _ in seen), sum(sum(look) for look in seen)
    assert process.evidence == pytest.approx(one_sample(bad, trials, limit), rel=1e-6)


@pytest.mark.parametrize("before", [(0, 0), (0, 50), (5, 50), (50, 50)])
@pytest.mark.parametrize("sizes", [(1, 1), (5, 2), (2, 5)])
def test_the_expected_evidence_is_at_most_1_exactly(before: tuple[int, int], sizes: tuple[int, int]) -> None:
    """Every outcome of a block, weighted by its chance: at most 1 when the canary is no worse.

    That is what makes it an e-variable, at every rate of stable and every smaller rate of the canary,
    whatever came before.
    """
    stable, canary = sizes
    gain = {}
    for stable_bad, canary_bad in itertools.product(range(stable + 1), range(canary + 1)):
        blocks = [(before[0], before[1], 0, 1)] if before[1] else []
        base = two_sample(blocks)
        process = TwoSampleEProcess()
        for block in [*blocks, (stable_bad, stable, canary_bad, canary)]:
            feed(process, block)
        gain[stable_bad, canary_bad] = process.evidence / base
    rates = np.linspace(0, 1, 21)
    for rate, no_worse in itertools.product(rates, rates):
        if no_worse <= rate:
            expected = sum(
                math.comb(stable, s) * bernoulli(s, stable, rate) * math.comb(canary, c)
                * bernoulli(c, canary, no_worse) * value
                for (s, c), value in gain.items()
            )  # fmt: skip
            assert expected <= 1 + 1e-9


def test_the_expected_evidence_stays_at_most_1_over_many_looks() -> None:
    """Monte Carlo: the mean of 2,000 e-values after ten looks at the null is at most 1, within four errors."""
    random = np.random.default_rng(7)
    values = []
    for _ in range(2000):
        process = TwoSampleEProcess()
        for _ in range(10):
            feed(process, (random.binomial(18, 0.05), 18, random.binomial(2, 0.05), 2))
        values.append(process.evidence)
    assert np.mean(values) <= 1 + 4 * np.std(values) / math.sqrt(len(values))


def test_calls_wait_for_calls_of_the_other_track() -> None:
    """At low traffic looks hold calls of one track only: they are pooled, and none is left out."""
    process, pooled = TwoSampleEProcess(), TwoSampleEProcess()
    for _ in range(20):
        feed(process, (0, 2, 0, 0))
        feed(process, (1, 1, 0, 0))
        feed(process, (0, 0, 1, 1))
        feed(pooled, (1, 3, 1, 1))
    assert process.evidence == pytest.approx(pooled.evidence)


def test_a_canary_that_always_fails_is_found_also_at_one_call_a_look() -> None:
    """Whichever track a look's only call goes to, a broken canary is evident after a few of its calls."""
    process = TwoSampleEProcess()
    for _ in range(20):
        feed(process, (0, 1, 0, 0))
        feed(process, (0, 0, 1, 1))
    assert process.evidence > 10_000


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_extreme_rates_give_finite_evidence(rate: float) -> None:
    """No call fails, or every one: no overflow, no warning, and no evidence against the canary."""
    process = TwoSampleEProcess()
    for _ in range(1000):
        feed(process, (round(1000 * rate), 1000, round(100 * rate), 100))
    assert 0 <= process.evidence <= 1.5


def test_overwhelming_evidence_stays_a_number() -> None:
    """A million failed calls do not overflow."""
    process = TwoSampleEProcess()
    for _ in range(100):
        feed(process, (0, 10_000, 10_000, 10_000))
    assert 1e200 < process.evidence < float("inf")


@pytest.mark.parametrize("limit", [1.0, 1 - 1e-16])
def test_a_limit_at_the_end_of_the_scale_divides_by_nothing(limit: float) -> None:
    """No rate is above 1, so that nothing is evidence of it; an exception it is neither."""
    process = OneSampleEProcess(limit)
    process.update(100, 100)
    assert process.evidence == pytest.approx(1)
