"""The bins of the page: few, readable, chosen on the reference, and not to be spoilt by outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.rows import Reference, Rows, Schema
from drift.statistics import Distribution, describe, prepare
from drift.statistics.distribution import MAX_BINS
from tests.drift.statistics.conftest import Column, reference_of, sides_of


def describe_column(reference: Column, current: Column) -> Distribution:
    reference_rows, current_rows = sides_of(reference, current)
    found = describe(prepare(reference_of(reference_rows)), current_rows)
    return found[-1 if isinstance(reference[0], str) else 0]


def check(found: Distribution) -> None:
    assert len(found.bins) == len(found.reference) == len(found.current) <= MAX_BINS
    assert sum(found.reference) + found.missing_reference == pytest.approx(1)
    assert sum(found.current) + found.missing_current == pytest.approx(1)


def test_round_edges_over_the_middle_of_the_reference() -> None:
    """An outlier on either side is in an open bin, and the others stay as they are."""
    random = np.random.default_rng(0)
    reference, current = random.normal(50, 10, 5000), random.normal(50, 10, 300)
    plain = describe_column(reference.tolist(), current.tolist())
    check(plain)
    assert plain.bins[:3] == ("< 25", "25 – 30", "30 – 35")
    assert plain.bins[-1] == "≥ 75"
    outliers = describe_column([*reference, 1e9], [*current, -1e30])
    check(outliers)
    assert outliers.bins == plain.bins
    assert outliers.current[0] > plain.current[0]


@pytest.mark.parametrize(
    ("scale", "offset", "expected"),
    [
        (1e-9, 0.0, "-5e-10 – 0"),
        (1.0, 0.0, "-0.5 – 0"),
        (1.0, 1e9, "999999999.5 – 1000000000"),
        (1e20, 0.0, "-5e+19 – 0"),
    ],
)
def test_edges_are_written_as_people_write_them(scale: float, offset: float, expected: str) -> None:
    """As many digits as tell the edges apart, and no more."""
    reference = (np.random.default_rng(1).normal(0, scale, 3000) + offset).tolist()
    found = describe_column(reference, reference[:50])
    check(found)
    assert expected in found.bins
    assert len(set(found.bins)) == len(found.bins)


def test_few_values_have_a_bin_each() -> None:
    """Values that the reference does not have share one."""
    found = describe_column([0.0, 1.0, 1.0, 2.5], [1.0, 1.0, 7.0, np.nan])
    check(found)
    assert found.bins == ("0", "1", "2.5", "other values")
    assert found.current == (0.0, 0.5, 0.0, 0.25)
    assert found.missing_current == 0.25


def test_the_most_frequent_labels_have_a_bin_each() -> None:
    """Rare ones share one, new ones another, and long ones are cut."""
    reference = [f"label {place:02d}" for place in range(30) for _ in range(40 - place)]
    found = describe_column([*reference, *["x" * 500] * 50], ["label 03", "label 29", "new", "new"])
    check(found)
    assert found.bins[0] == "x" * 59 + "…"
    assert found.bins[1:3] == ("label 00", "label 01")
    assert found.bins[-2:] == ("13 others", "(not in the reference)")
    assert found.current[-2:] == (0.25, 0.5)


def test_texts_of_a_feature() -> None:
    """Codes are shown as what they stand for; missing ones stand beside."""
    schema = Schema(("feature_0",), "label", (("north", "south"),))
    sides = [
        Rows(np.array([codes]).T, np.full(len(codes), "a", object))
        for codes in ([0.0, 0.0, 1.0, np.nan], [0.0, 2.0, 2.0, 1.0])
    ]
    found = describe(prepare(Reference(schema, sides[0], 4)), sides[1])
    check(found[0])
    assert found[0].bins == ("north", "south", "(not in the reference)")
    assert (found[0].reference, found[0].missing_reference) == ((0.5, 0.25, 0.0), 0.25)
    assert found[0].current == (0.25, 0.25, 0.5)
    assert [one.name for one in found] == ["feature_0", "prediction"]


@given(
    st.lists(st.floats(), min_size=1, max_size=80),
    st.lists(st.floats(), min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_numbers_have_bins(reference: list[float], current: list[float]) -> None:
    """Whatever the floats, among them none at all, the shares add up."""
    check(describe_column(reference, current))
