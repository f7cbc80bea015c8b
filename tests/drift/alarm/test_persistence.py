"""Persistence: an alarm takes as many findings in a row to end as to begin."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drift.alarm.persistence import Persistence
from drift.alarm.verdict import SCOPES, Finding

_WINDOWS = itertools.count()
LEVELS = dict.fromkeys(SCOPES, 0.01)
FINDINGS = st.lists(st.fixed_dictionaries({scope: st.booleans() for scope in SCOPES}), max_size=30)


def new_rows() -> NDArray[np.int64]:
    """A window of rows that nobody has seen."""
    return np.arange(10) + 10 * next(_WINDOWS)


def finding(**exceeded: bool) -> Finding:
    p_values = {scope: 0.01 if exceeded.get(scope) else 0.5 for scope in SCOPES}
    return Finding(p_values, {"feature_0": p_values["features"]}, LEVELS)


def test_two_in_a_row_raise_and_two_in_a_row_end() -> None:
    """One finding changes nothing, in either direction."""
    persistence = Persistence(runs_needed=2)
    seen = [
        persistence.update(finding(joint=one), new_rows()).joint
        for one in (True, False, True, True, False, True)
    ]
    assert seen == [False, False, False, True, True, True]
    assert [persistence.update(finding(), new_rows()).joint for _ in range(2)] == [True, False]


@given(findings=FINDINGS, needed=st.integers(1, 4))
def test_an_alarm_changes_only_after_enough_in_a_row(findings: list[dict[str, bool]], needed: int) -> None:
    """Whenever a scope is raised or ended, the last findings of that many evaluations all said so."""
    persistence, before = Persistence(needed), dict.fromkeys(SCOPES, False)
    for place, exceeded in enumerate(findings):
        alarm = persistence.update(finding(**exceeded), new_rows())
        for scope in SCOPES:
            last = [one[scope] for one in findings[max(place + 1 - needed, 0) : place + 1]]
            agree = len(last) == needed and len(set(last)) == 1
            assert getattr(alarm, scope) == (last[-1] if agree else before[scope])
            before[scope] = getattr(alarm, scope)
        assert alarm.any == any(before.values())


@given(findings=FINDINGS)
def test_runs_count_the_findings_in_a_row(findings: list[dict[str, bool]]) -> None:
    """Up to the present one, for each scope; and what was found is passed on."""
    persistence = Persistence()
    for place, exceeded in enumerate(findings):
        given_finding = finding(**exceeded)
        alarm = persistence.update(given_finding, new_rows())
        assert (alarm.p_values, alarm.levels) == (given_finding.p_values, LEVELS)
        for scope in SCOPES:
            behind = [one[scope] for one in reversed(findings[: place + 1])]
            assert alarm.runs[scope] == (behind.index(False) if False in behind else len(behind))


def test_no_run_is_no_setting() -> None:
    """An alarm after no evaluation is refused."""
    with pytest.raises(ValueError, match="at least one evaluation"):
        Persistence(runs_needed=0)


def test_rows_that_were_judged_already_do_not_count() -> None:
    """A finding counts again once half of the rows are new; what says something else counts at once."""
    persistence, rows = Persistence(runs_needed=2), np.arange(100)
    windows = [rows, rows, rows + 49, rows + 50]
    assert [persistence.update(finding(joint=True), window).runs["joint"] for window in windows] == [
        1,
        1,
        1,
        2,
    ]
    assert [persistence.update(finding(), window).joint for window in (rows + 51, rows + 60, rows + 101)] == [
        True,
        True,
        False,
    ]


@given(findings=FINDINGS, needed=st.integers(1, 4))
def test_what_is_saved_goes_on_where_it_stopped(findings: list[dict[str, bool]], needed: int) -> None:
    """After a restart the same rows do not count again, and new ones go on; rubbish counts as nothing."""
    persistence, restored = Persistence(needed), Persistence(needed)
    for exceeded in findings:
        persistence.update(finding(**exceeded), new_rows())
    restored.restore(persistence.saved())
    assert restored.saved() == persistence.saved()
    if findings:
        same = new_rows()
        before = persistence.saved()
        restored.update(finding(**findings[-1]), same)
        assert restored.saved() == before
        restored.update(finding(**findings[-1]), new_rows())
        assert all(scope["runs"] == before[name]["runs"] + 1 for name, scope in restored.saved().items())
    restored = Persistence(needed)
    restored.restore({"features": 7, "joint": {"exceeds": 1, "runs": "2", "raised": None}})
    assert restored.saved() == Persistence(needed).saved()
