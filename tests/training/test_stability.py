"""Drift since a dataset was accepted: laws of the index, and what the record of that dataset keeps."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.contracts.accepted import accept, read_accepted, record_path
from training.contracts.stability import Profile, profile_of, stability_index
from training.contracts.validated import ValidatedTable
from training.errors import ConfigError

_COLUMNS = st.one_of(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300).map(
        lambda some: pd.Series(some, dtype=float)
    ),
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=300).map(
        lambda some: pd.Series(some, dtype="str")
    ),
)


@given(_COLUMNS)
def test_law_a_column_has_not_moved_from_itself(values: pd.Series) -> None:
    """The index of a column against its own profile is 0, also after the profile was a file."""
    profile = Profile.from_json(json.loads(json.dumps(profile_of(values).as_json())))
    assert profile == profile_of(values)
    assert stability_index(profile, values) == pytest.approx(0)
    assert stability_index(profile, values.sample(frac=1, random_state=1)) == pytest.approx(0)


@given(_COLUMNS, _COLUMNS)
def test_law_the_index_is_never_negative(before: pd.Series, now: pd.Series) -> None:
    """And there is none between numbers and texts."""
    index = stability_index(profile_of(before), now)
    assert (index is None) == (before.dtype != now.dtype)
    assert index is None or index >= 0


def test_index_is_the_sum_of_its_definition() -> None:
    """Two categories from 50:50 to 80:20: 0.3 ln 1.6 - 0.3 ln 0.4 = 0.4159."""
    before = pd.Series(["a", "b"] * 50)
    now = pd.Series(["a"] * 80 + ["b"] * 20)
    assert stability_index(profile_of(before), now) == pytest.approx(
        0.3 * math.log(1.6) - 0.3 * math.log(0.4)
    )


@pytest.mark.parametrize(
    ("now", "least"),
    [
        (np.random.default_rng(2).normal(1, 1, 2000), 0.5),
        (np.full(2000, 100.0), 5.0),
        (np.where(np.arange(2000) % 2, np.nan, 0.0), 1.0),
    ],
    ids=["shifted", "beyond", "missing"],
)
def test_what_moved_has_a_large_index(now: np.ndarray, least: float) -> None:
    """A shift by one standard deviation, values beyond all that were seen, and half of them missing."""
    before = profile_of(pd.Series(np.random.default_rng(1).normal(0, 1, 2000)))
    found = stability_index(before, pd.Series(now))
    assert found is not None
    assert found > least
    same = stability_index(before, pd.Series(np.random.default_rng(3).normal(0, 1, 2000)))
    assert same is not None
    assert same < 0.02


def test_constant_column_that_changes_is_seen_on_both_sides() -> None:
    """A bin above and a bin below what was ever found."""
    before = profile_of(pd.Series([5.0] * 100))
    for other in (4.0, 6.0):
        assert (stability_index(before, pd.Series([other] * 100)) or 0) > 5


def test_record_stands_beside_the_table() -> None:
    """It is written with the table, names its digest, and is what the next one is compared with."""
    frame = pd.DataFrame({"a": np.arange(200.0), "g": ["x"] * 200, "y": ["u", "v"] * 100})
    table = ValidatedTable("t", "t.csv", frame, "y", ("a",))
    path = Path("out/t.csv")
    assert read_accepted(record_path(path)) is None
    accept(table, path)
    record = read_accepted(Path("out/t.accepted.json"))
    assert record is not None
    assert (record.sha256, record.rows) == (table.sha256, 200)
    assert list(record.columns) == ["a", "y"]  # a group moves by nature


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": 9}', '{"layout": 1, "columns": {"a": {}}}'])
def test_damaged_record_is_a_sentence(text: str) -> None:
    """It names the file and what to do; nothing is accepted without the comparison."""
    Path("t.accepted.json").write_text(text)
    with pytest.raises(ConfigError, match=r"(?s)t\.accepted\.json.*cannot be read.*remove the file"):
        read_accepted(Path("t.accepted.json"))
