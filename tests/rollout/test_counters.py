"""What a driver counts, and the difference between two looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.counters import Counters, Histogram, TrackCounters

BOUNDS = (0.001, 0.01, 0.1)
COUNTS = st.tuples(*[st.integers(0, 1000)] * 4)
TRACKS = st.builds(
    TrackCounters, st.integers(0, 1000), st.integers(0, 1000), st.builds(Histogram, st.just(BOUNDS), COUNTS)
)


def track(requests: int, errors: int = 0, counts: tuple[int, ...] = (0, 0, 0, 0)) -> TrackCounters:
    return TrackCounters(requests, errors, Histogram(BOUNDS, counts))


def test_since_is_what_was_added() -> None:
    """Requests, errors and every bucket are subtracted."""
    earlier, now = track(10, 1, (5, 3, 1, 1)), track(25, 2, (5, 13, 4, 3))
    assert now.since(earlier) == track(15, 1, (0, 10, 3, 2))


def test_a_reset_starts_counting_anew() -> None:
    """A counter that went down belongs to a new process: all that it counted is new."""
    now = track(3, 0, (3, 0, 0, 0))
    assert now.since(track(100, 0, (50, 50, 0, 0))) == now
    assert now.since(track(2, 2)) == now


def test_the_share_is_of_both_tracks() -> None:
    """The canary's share of all calls, and none without calls."""
    assert Counters(track(75), track(25)).canary_share == 0.25
    assert Counters(track(0), track(0)).canary_share is None


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    """The answer is an upper bound: infinite above every bound, none without calls."""
    histogram = Histogram(BOUNDS, (50, 45, 4, 1))
    assert histogram.quantile(0.5) == 0.001
    assert histogram.quantile(0.95) == 0.01
    assert histogram.quantile(0.99) == 0.1
    assert histogram.quantile(1.0) == float("inf")
    assert Histogram(BOUNDS, (0, 0, 0, 0)).quantile(0.5) is None


@pytest.mark.parametrize("counts", [(), (1, 2, 3), (1, 2, 3, 4, 5)])
def test_counts_must_fit_their_bounds(counts: tuple[int, ...]) -> None:
    """One count for each bound and one above them all."""
    with pytest.raises(ValueError, match="3 bounds need one count more"):
        Histogram(BOUNDS, counts)


@given(TRACKS, TRACKS)
def test_nothing_counted_is_ever_negative(now: TrackCounters, earlier: TrackCounters) -> None:
    """Whatever two readings are compared, in whatever order: no negative count, no more than was read."""
    added = now.since(earlier)
    for value, most in zip(
        (added.requests, added.errors, *added.latency.counts),
        (now.requests, now.errors, *now.latency.counts),
        strict=True,
    ):
        assert 0 <= value <= most


@given(TRACKS, TRACKS)
def test_looks_add_up(start: TrackCounters, added: TrackCounters) -> None:
    """What came since a reading is exactly what was added to it."""
    counts = tuple(a + b for a, b in zip(start.latency.counts, added.latency.counts, strict=True))
    now = TrackCounters(
        start.requests + added.requests, start.errors + added.errors, Histogram(BOUNDS, counts)
    )
    assert now.since(start) == added


@given(COUNTS)
def test_calls_are_slower_or_not(counts: tuple[int, ...]) -> None:
    """At every bound the calls above it and those up to it make all, and fewer are slower than more."""
    histogram = Histogram(BOUNDS, counts)
    slower = [histogram.slower_than(i) for i in range(len(BOUNDS))]
    for i, above in enumerate(slower):
        assert above + sum(counts[: i + 1]) == histogram.total
    assert slower == sorted(slower, reverse=True)


@given(COUNTS, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow_with_their_share(counts: tuple[int, ...], one: float, other: float) -> None:
    """A larger share never has a smaller quantile."""
    histogram = Histogram(BOUNDS, counts)
    low, high = histogram.quantile(min(one, other)), histogram.quantile(max(one, other))
    assert (low is None) == (high is None) == (histogram.total == 0)
    if low is not None and high is not None:
        assert low <= high
