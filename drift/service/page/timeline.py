"""The runs that the figures show, in the order of time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drift.service.page import wording
from drift.service.page.chart import Period
from drift.service.run import ColumnRun, Run

__all__ = ["Timeline"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The runs that figures show, oldest first, and the time that they span."""

    runs: Sequence[Run]
    period: Period
    #: The columns of each run by their names.
    columns: Sequence[Mapping[str, ColumnRun]]

    @classmethod
    def of(cls, runs: Sequence[Run], period: Period) -> "Timeline":
        """Return the timeline of `runs`."""
        return cls(runs, period, [{column.name: column for column in run.columns} for run in runs])

    def points(self, pick: Callable[[Run], float | None]) -> list[tuple[float, float | None]]:
        """Return what `pick` finds in each run, with its moment."""
        return [(wording.seconds_of(run.evaluated_at), pick(run)) for run in self.runs]

    def points_of(
        self, name: str, pick: Callable[[ColumnRun], float | None]
    ) -> list[tuple[float, float | None]]:
        """Return what `pick` finds in the column of that name in each run."""
        moments = (wording.seconds_of(run.evaluated_at) for run in self.runs)
        found = (columns.get(name) for columns in self.columns)
        return [
            (moment, None if column is None else pick(column))
            for moment, column in zip(moments, found, strict=True)
        ]
