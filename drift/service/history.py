"""The history: every evaluation, newest first, within bounds of count and age.

It serves the page and `GET /api/history`. A history that cannot be written is a sentence in the log, never a failed
evaluation; one that cannot be read is a `HistoryError`.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from drift.errors import HistoryError
from drift.evaluation import Evaluation, Outcome
from drift.service.history_file import HistoryFile
from drift.service.run import Run, run_of
from drift.service.run_record import (
    columns_record,
    distributions_from,
    distributions_record,
    run_from,
    run_record,
)
from drift.statistics.column import Distribution

__all__ = ["DEFAULT_MAX_AGE_DAYS", "DEFAULT_MAX_RUNS", "History", "PastError", "Verdict"]

#: A season back, and as many runs as a month has with an evaluation each 300 seconds (8,640).
DEFAULT_MAX_AGE_DAYS: Final = 90.0
DEFAULT_MAX_RUNS: Final = 10_000
_DAY_SECONDS: Final = 86_400.0

_SELECT: Final = (
    "SELECT runs.id, columns.record, runs.record FROM runs JOIN columns ON columns.id = runs.columns "
)

log = structlog.stdlib.get_logger("drift")


@dataclass(frozen=True, slots=True)
class PastError:
    """A reason for which evaluations failed: how often, and when first and last (seconds since 1970)."""

    reason: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last run that reached a verdict, with its distributions."""

    run: Run
    distributions: tuple[Distribution, ...]


class History:
    """Evaluations in a SQLite file, or in memory when `path` is None. Safe to use from several threads."""

    def __init__(
        self,
        path: Path | None,
        *,
        max_runs: int = DEFAULT_MAX_RUNS,
        max_age_days: float = DEFAULT_MAX_AGE_DAYS,
    ) -> None:
        """Keep at most `max_runs`, none `max_age_days` older than the newest. The file is opened when needed."""
        self._file = HistoryFile(path)
        self._max_runs, self._max_age_seconds = max_runs, max_age_days * _DAY_SECONDS

    def add(self, evaluation: Evaluation) -> None:
        """Store `evaluation` and forget what is out of bounds. What goes wrong is logged."""
        run = run_of(evaluation)

        def store(connection: sqlite3.Connection) -> None:
            self._insert(connection, run, evaluation.distributions)
            self._forget(connection, _seconds(run.evaluated_at))

        try:
            self._file.transact(store, changes=True)
        except HistoryError as error:
            log.error("the drift history was not written", reason=str(error))

    def runs(self, limit: int, before: int | None = None) -> list[Run]:
        """Return up to `limit` runs, newest first, of those with an id below `before`. Raises `HistoryError`."""
        where = "WHERE ? IS NULL OR runs.id < ? ORDER BY runs.id DESC LIMIT ?"
        return self._read(_SELECT + where, before, before, limit)

    def series(self, since_seconds: float, points: int) -> list[Run]:
        """Return runs since `since_seconds` (since 1970), oldest first, thinned to about `points`.

        Of the runs that one point stands for it shows the worst: those with an alarm come before all others, so that
        no alarm is thinned away, and then the largest severity. Raises `HistoryError`.
        """
        thinned = (
            "WHERE runs.id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY "
            "id / (1 + (SELECT count(*) FROM runs WHERE at >= ?1) / ?2) ORDER BY raised DESC, worst DESC, id DESC"
            ") AS place FROM runs WHERE at >= ?1) WHERE place = 1) ORDER BY runs.at"
        )
        return self._read(_SELECT + thinned, since_seconds, points)

    def last_verdict(self) -> Verdict | None:
        """Return the last verdict, of an earlier process perhaps. Raises `HistoryError`."""

        def find(connection: sqlite3.Connection) -> Verdict | None:
            row = connection.execute(
                _SELECT + "WHERE outcome = ? ORDER BY runs.id DESC LIMIT 1", (Outcome.OK,)
            ).fetchone()
            if row is None:
                return None
            kept = connection.execute("SELECT record FROM distributions WHERE run = ?", row[:1]).fetchone()
            return Verdict(run_from(*row), distributions_from(kept[0]) if kept else ())

        return self._file.transact(find)

    def errors(self, limit: int) -> list[PastError]:
        """Return the last reasons for which evaluations failed, newest first. Raises `HistoryError`."""
        query = (
            "SELECT reason, count(*), min(at), max(at) FROM runs WHERE outcome = 'error' "
            "GROUP BY reason ORDER BY max(at) DESC LIMIT ?"
        )
        found = self._file.transact(lambda connection: connection.execute(query, (limit,)).fetchall())
        return [PastError(*row) for row in found]

    def alarm_since(self) -> float | None:
        """Return when the alarm that is raised now was raised (seconds since 1970). Raises `HistoryError`."""
        query = (
            "SELECT min(at) FROM runs WHERE raised AND id > coalesce((SELECT id FROM runs WHERE outcome = ? "
            "AND NOT raised ORDER BY id DESC LIMIT 1), 0)"
        )
        since: float | None = self._file.transact(
            lambda connection: connection.execute(query, (Outcome.OK,)).fetchone()[0]
        )
        return since

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, query: str, *values: object) -> list[Run]:
        found = self._file.transact(lambda connection: connection.execute(query, values).fetchall())
        return [run_from(*row) for row in found]

    @staticmethod
    def _insert(connection: sqlite3.Connection, run: Run, distributions: tuple[Distribution, ...]) -> None:
        columns = columns_record(run)
        connection.execute("INSERT OR IGNORE INTO columns (record) VALUES (?)", (columns,))
        raised = run.alarm is not None and run.alarm.any
        added = connection.execute(
            "INSERT INTO runs (at, outcome, reason, raised, worst, columns, record) "
            "VALUES (?, ?, ?, ?, ?, (SELECT id FROM columns WHERE record = ?), ?)",
            (
                _seconds(run.evaluated_at),
                run.outcome,
                run.reason,
                raised,
                run.worst_severity,
                columns,
                run_record(run),
            ),
        )
        if run.outcome == Outcome.OK:  # only the page of the last verdict shows them, and they are large
            connection.execute("DELETE FROM distributions")
            connection.execute(
                "INSERT INTO distributions (run, record) VALUES (?, ?)",
                (added.lastrowid, distributions_record(distributions)),
            )

    def _forget(self, connection: sqlite3.Connection, now_seconds: float) -> None:
        connection.execute("DELETE FROM runs WHERE at < ?", (now_seconds - self._max_age_seconds,))
        connection.execute(
            "DELETE FROM runs WHERE id IN "
            "(SELECT id FROM runs ORDER BY id LIMIT max(0, (SELECT count(*) FROM runs) - ?))",
            (self._max_runs,),
        )
        connection.execute("DELETE FROM distributions WHERE run NOT IN (SELECT id FROM runs)")
        connection.execute(
            "DELETE FROM columns WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.columns = columns.id)"
        )


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
