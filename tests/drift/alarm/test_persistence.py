"""Persistence: an alarm takes as many findings in a row to end as to begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.alarm.persistence import Persistence
from drift.alarm.verdict import SCOPES, Finding

LEVELS = dict.fromkeys(SCOPES, 0.01)
FINDINGS = st.lists(st.fixed_dictionaries({scope: st.booleans() for scope in SCOPES}), max_size=30)


def finding(**exceeded: bool) -> Finding:
    p_values = {scope: 0.01 if exceeded.get(scope) else 0.5 for scope in SCOPES}
    return Finding(p_values, {"feature_0": p_values["features"]}, LEVELS)


def test_two_in_a_row_raise_and_two_in_a_row_end() -> None:
    """One finding changes nothing, in either direction."""
    persistence = Persistence(runs_needed=2)
    seen = [persistence.update(finding(joint=one)).joint for one in (True, False, True, True, False, True)]
    assert seen == [False, False, False, True, True, True]
    assert [persistence.update(finding()).joint for _ in range(2)] == [True, False]


@given(findings=FINDINGS, needed=st.integers(1, 4))
def test_an_alarm_changes_only_after_enough_in_a_row(findings: list[dict[str, bool]], needed: int) -> None:
    """Whenever a scope is raised or ended, the last findings of that many evaluations all said so."""
    persistence, before = Persistence(needed), dict.fromkeys(SCOPES, False)
    for place, exceeded in enumerate(findings):
        alarm = persistence.update(finding(**exceeded))
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
        alarm = persistence.update(given_finding)
        assert (alarm.p_values, alarm.levels) == (given_finding.p_values, LEVELS)
        for scope in SCOPES:
            behind = [one[scope] for one in reversed(findings[: place + 1])]
            assert alarm.runs[scope] == (behind.index(False) if False in behind else len(behind))


def test_no_run_is_no_setting() -> None:
    """An alarm after no evaluation is refused."""
    with pytest.raises(ValueError, match="at least one evaluation"):
        Persistence(runs_needed=0)
