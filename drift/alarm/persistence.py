"""Asks for the same finding again before it becomes an alarm, and before an alarm ends.

Windows overlap: of an hour that is judged every five minutes, eleven twelfths are the same rows again, and a false
finding in it comes back with nearly every look. So an evaluation counts only when at least half of its rows are new
since the last one that counted; the first that says something else counts at once.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.alarm.verdict import SCOPES, Alarm, Finding

__all__ = ["NEW_ROWS_RATIO", "RUNS_NEEDED", "Persistence"]

#: Evaluations in a row that must agree.
RUNS_NEEDED: Final = 2
#: Share of the rows that must be new. docs/drift.md has how often false alarms begin with it.
NEW_ROWS_RATIO: Final = 0.5

Keys = NDArray[np.int64]


class Persistence:
    """Turns findings into alarms: a scope is raised, and ended, once enough findings in a row agree.

    Used by one thread.
    """

    def __init__(self, runs_needed: int = RUNS_NEEDED) -> None:
        if runs_needed < 1:
            raise ValueError(f"runs_needed is {runs_needed}, and an alarm takes at least one evaluation")
        self._needed = runs_needed
        self._scopes = {scope: _Scope() for scope in SCOPES}

    def update(self, finding: Finding, rows: Keys) -> Alarm:
        """Return the alarm after one more finding; `rows` has one number for each row of the window, its own."""
        for scope, state in self._scopes.items():
            state.update(rows, exceeds=finding.exceeds(scope), needed=self._needed)
        raised = {scope: state.raised for scope, state in self._scopes.items()}
        return Alarm(
            **raised,
            any=any(raised.values()),
            p_values=finding.p_values,
            feature_p_values=finding.feature_p_values,
            levels=finding.levels,
            runs={scope: state.runs if state.exceeds else 0 for scope, state in self._scopes.items()},
            runs_needed=self._needed,
        )

    def saved(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON can hold it."""
        return {
            scope: {"exceeds": state.exceeds, "runs": state.runs, "raised": state.raised}
            for scope, state in self._scopes.items()
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another process stopped; what is not as `saved` returns it counts as nothing.

        Which rows that one had seen is not known: the first evaluation that says the same does not count.
        """
        for scope, state in self._scopes.items():
            state.restore(saved.get(scope))


class _Scope:
    """What one scope said last (`exceeds`), in how many evaluations in a row that count, and on which rows."""

    def __init__(self) -> None:
        self.exceeds, self.runs, self.raised = False, 0, False
        self._rows: Keys | None = None

    def update(self, rows: Keys, *, exceeds: bool, needed: int) -> None:
        if self.runs == 0 or exceeds != self.exceeds:
            self.exceeds, self.runs, self._rows = exceeds, 1, rows
        elif self._rows is None:
            self._rows = rows
        elif np.isin(rows, self._rows, invert=True).mean() >= NEW_ROWS_RATIO:
            self.runs, self._rows = self.runs + 1, rows
        if self.runs >= needed:
            self.raised = exceeds

    def restore(self, saved: object) -> None:
        if not isinstance(saved, dict):
            return
        exceeds, runs, raised = (saved.get(name) for name in ("exceeds", "runs", "raised"))
        if isinstance(exceeds, bool) and type(runs) is int and runs >= 0 and isinstance(raised, bool):
            self.exceeds, self.runs, self.raised, self._rows = exceeds, runs, raised, None
