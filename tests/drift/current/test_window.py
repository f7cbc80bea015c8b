"""The window: rows leave by age, and beyond the capacity every row has the same chance."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.current.window import Window
from drift.rows import Rows


def add(window: Window, timestamp: float, values: list[float]) -> None:
    """Add rows of one feature whose prediction is the value too."""
    array = np.array(values, dtype=np.float64)
    window.add(np.full(len(array), timestamp), Rows(array[:, None], array))


def values(window: Window, now: float) -> list[float]:
    rows = window.sample(now)
    return [] if rows is None else [float(value) for value in rows.features[:, 0]]


def test_rows_leave_by_age_and_come_in_order_of_time() -> None:
    """A window of 10 s has the rows of the last 10 s, oldest first, in whatever order they were added."""
    window = Window(capacity=100, range_seconds=10, seed=1)
    add(window, 8.0, [80])
    add(window, 1.0, [10])
    add(window, 5.0, [50, 51])
    assert values(window, now=9.0) == [10, 50, 51, 80]
    assert values(window, now=12.0) == [50, 51, 80]
    assert values(window, now=100.0) == []


def test_an_empty_window_has_no_rows() -> None:
    """Nothing added, nothing sampled."""
    assert Window(capacity=5, range_seconds=10, seed=1).sample(0.0) is None


@settings(max_examples=60, deadline=None)
@given(
    moments=st.lists(st.integers(0, 50), min_size=1, max_size=300),
    capacity=st.integers(1, 20),
    now=st.integers(0, 60),
)
def test_the_sample_is_as_large_as_it_can_be(moments: list[int], capacity: int, now: int) -> None:
    """Whatever was forgotten on the way, `min(capacity, rows in the window)` rows are there, each once.

    Rows are added and the window read in between, as a service does.
    """
    window = Window(capacity, range_seconds=10, seed=3)
    for index, moment in enumerate(moments):
        add(window, float(moment), [float(index)])
    latest = max(*moments, now)  # time does not run backwards
    alive = {index for index, moment in enumerate(moments) if moment >= latest - 10}
    found = values(window, float(latest))
    assert len(found) == len(set(found)) == min(capacity, len(alive))
    assert set(found) <= alive


def test_the_sample_is_unbiased_in_time() -> None:
    """Over 400 seeds each row of a stream is sampled alike, and the early half as often as the late half.

    The bounds are five standard deviations: of a binomial count, and of a hypergeometric one.
    """
    counts = np.zeros(100)
    for seed in range(400):
        window = Window(capacity=20, range_seconds=1000, seed=seed)
        for moment in range(100):
            add(window, float(moment), [float(moment)])
        counts[[int(value) for value in values(window, 99.0)]] += 1
    assert counts.sum() == 400 * 20
    sigma = np.sqrt(400 * 0.2 * 0.8)
    assert np.abs(counts - 80).max() < 5 * sigma
    sigma_of_half = np.sqrt(400 * 20 * 0.5 * 0.5 * 80 / 99)
    assert abs(counts[:50].sum() - 400 * 10) < 5 * sigma_of_half


def test_memory_is_bounded() -> None:
    """100 000 rows through a window of 1000: never more than about 2 x 1000 x (1 + ln 100) rows are held."""
    window, most = Window(capacity=1000, range_seconds=1e9, seed=5), 0
    for moment in range(200):
        add(window, float(moment), [0.0] * 500)
        most = max(most, window.held_rows)
    rows = window.sample(200.0)
    assert rows is not None
    assert len(rows) == 1000
    assert most < 2.2 * 1000 * (1 + np.log(100))
