"""Asks for the same finding again before it becomes an alarm, and before an alarm ends."""

from typing import Final

from drift.alarm.verdict import SCOPES, Alarm, Finding

__all__ = ["RUNS_NEEDED", "Persistence"]

#: Evaluations in a row that must agree. Two of independent windows turn 1 false finding in 100 into 1 in 10,000.
RUNS_NEEDED: Final = 2


class Persistence:
    """Turns findings into alarms: a scope is raised, and ended, once enough findings in a row agree.

    Used by one thread.
    """

    def __init__(self, runs_needed: int = RUNS_NEEDED) -> None:
        if runs_needed < 1:
            raise ValueError(f"runs_needed is {runs_needed}, and an alarm takes at least one evaluation")
        self._needed = runs_needed
        self._exceeded = dict.fromkeys(SCOPES, 0)
        self._quiet = dict.fromkeys(SCOPES, 0)
        self._raised = dict.fromkeys(SCOPES, False)

    def update(self, finding: Finding) -> Alarm:
        """Return the alarm after one more finding."""
        for scope in SCOPES:
            exceeds = finding.exceeds(scope)
            self._exceeded[scope] = self._exceeded[scope] + 1 if exceeds else 0
            self._quiet[scope] = 0 if exceeds else self._quiet[scope] + 1
            if self._exceeded[scope] >= self._needed:
                self._raised[scope] = True
            elif self._quiet[scope] >= self._needed:
                self._raised[scope] = False
        return Alarm(
            **self._raised,
            any=any(self._raised.values()),
            p_values=finding.p_values,
            feature_p_values=finding.feature_p_values,
            levels=finding.levels,
            runs=dict(self._exceeded),
            runs_needed=self._needed,
        )
