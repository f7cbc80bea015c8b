"""How the page writes numbers and times."""

import math

import pytest

from drift.service.page import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0"),
        (0.0515, "0.0515"),
        (-1.5, "−1.5"),
        (0.00042, "4.2e-4"),
        (12345.6, "12,346"),
        (3e9, "3.0e9"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    """Very small and very large ones have a power of ten."""
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.71, "0.71"), (5e10, "> 1,000"), (1000.0, "1000.00")]
)
def test_severities_end_at_a_thousand(value: float | None, text: str) -> None:
    """More than that is only very much."""
    assert wording.severity(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "< 0.0001"), (0.00051, "0.00051"), (1.0, "1")]
)
def test_p_values_are_never_nothing(value: float | None, text: str) -> None:
    """A test of so many draws cannot say zero."""
    assert wording.p_value(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (0.0, "0.0 %"), (0.0002, "< 0.1 %"), (0.315, "31.5 %"), (1.0, "100.0 %")]
)
def test_small_shares_are_not_nothing(share: float | None, text: str) -> None:
    """A tenth of a percent is the finest that is written."""
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 seconds"),
        (1.2, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (200_000, "2 days"),
    ],
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    """The largest one of which there are two."""
    assert wording.age(seconds) == text


def test_moments_are_in_utc() -> None:
    """Whatever the place of the machine and of the reader."""
    assert wording.seconds_of("2026-11-24T02:05:03.250+00:00") == 1795485903.25
    assert wording.clock(1795485903.25) == "24 Nov 2026, 02:05:03 UTC"
    assert wording.short_clock(1795485903.25) == "24 Nov, 02:05"
