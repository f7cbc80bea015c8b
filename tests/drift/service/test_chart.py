"""The geometry of the figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.service.page.chart import (
    HEIGHT,
    WIDTH,
    Band,
    LinearAxis,
    LogAxis,
    Period,
    band_path,
    bands,
    line_path,
)

PERIOD = Period(0.0, 100.0)
values = st.floats(min_value=0, max_value=1e12, allow_nan=False)


@given(st.lists(values), st.floats(min_value=1e-6, max_value=1e9))
def test_a_linear_axis_has_room_for_all_values(found: list[float], at_least: float) -> None:
    """Every value stands within the drawing, 0 at its foot, and its ends are ordered."""
    axis = LinearAxis.around(found, at_least=at_least)
    assert axis.place(0) == HEIGHT
    assert all(value <= axis.top * (1 + 1e-6) for value in (*found, at_least))
    assert axis.ticks == (axis.top, axis.top / 2, 0)


@given(values)
def test_a_logarithmic_axis_holds_what_is_beyond_it_at_its_end(value: float) -> None:
    """Whatever the value, it stands within the drawing; 0 at the small end."""
    axis = LogAxis.around([value], lowest=-1, highest=1, limit=3)
    assert 0 <= axis.place(value) <= HEIGHT
    assert axis.place(0) == HEIGHT


def test_a_logarithmic_axis_is_evenly_spaced() -> None:
    """Each power of ten has a tick at the height where its value stands; upside down too."""
    for axis in (LogAxis(top=3, bottom=-1), LogAxis(top=-3, bottom=0)):
        places = [axis.place(tick) for tick in axis.ticks]
        step = HEIGHT / (len(places) - 1)
        assert places == pytest.approx([number * step for number in range(len(places))], abs=0.1)


def test_a_line_goes_through_its_points() -> None:
    """The first at the left end, the last at the right end, with a dot there."""
    path, last = line_path([(0, 0.0), (50, 0.5), (100, 1.0)], PERIOD, LinearAxis(top=1.0))
    assert path == f"M0 {HEIGHT}L{WIDTH // 2} {HEIGHT // 2}L{WIDTH} 0"
    assert last == f"M{WIDTH} 0h0"


def test_a_line_breaks_where_values_are_missing() -> None:
    """A value alone between missing ones is a dot; nothing is drawn across a failure."""
    path, _ = line_path([(0, 0.0), (10, 0.0), (20, None), (30, 0.0), (40, None)], PERIOD, LinearAxis(top=1.0))
    assert path == f"M0 {HEIGHT}L100 {HEIGHT}M300 {HEIGHT}h0"


def test_a_line_breaks_where_the_service_did_not_run() -> None:
    """Points much further apart than usual are not joined."""
    path, _ = line_path([(0, 0), (1, 0), (2, 0), (3, 0), (90, 0), (91, 0)], PERIOD, LinearAxis(top=1.0))
    assert path.count("M") == 2


def test_no_points_are_no_line() -> None:
    """An empty path draws nothing."""
    assert line_path([], PERIOD, LinearAxis(top=1.0)) == ("", "")
    assert line_path([(1, None)], PERIOD, LinearAxis(top=1.0)) == ("", "")


def test_an_interval_is_an_area() -> None:
    """Along the upper line and back along the lower one."""
    area = band_path([(0, 0.0), (100, 0.0)], [(0, 1.0), (100, 1.0)], PERIOD, LinearAxis(top=1.0))
    assert area == f"M0 0L{WIDTH} 0L{WIDTH} {HEIGHT}L0 {HEIGHT}Z"


def test_a_flag_is_set_until_the_next_run() -> None:
    """A stretch ends with the first run without the flag, or lasts to the end of the period."""
    assert bands([(0, False), (10, True), (20, True), (40, False), (90, True)], PERIOD) == (
        Band(100, 300),
        Band(900, 100),
    )
