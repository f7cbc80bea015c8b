"""What was received and what became of it: it is on the disk before anybody gets an answer.

Relay, the child that runs a command, and `status` open the same file at the same time. Of one model there is at
most one pending deployment: the newest.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rollout.errors import UsageError
from rollout.webhook_relay.database import Database
from rollout.webhook_relay.deployment import Deployment, Source, State, Wanted

__all__ = ["Inbox", "Receipt"]

#: Changes with the tables, so that an older relay does not write into a newer one's file.
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id TEXT PRIMARY KEY, received_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deployments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL, alias TEXT NOT NULL, version TEXT NOT NULL,
    state TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, detail TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL, updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS deployments_by_alias ON deployments (name, alias, id);
CREATE INDEX IF NOT EXISTS deployments_by_state ON deployments (state, not_before)
"""
_SELECT: Final = (
    "SELECT id, name, alias, version, state, source, key, attempts, not_before, exit_code, detail, "
    "created_at, updated_at FROM deployments "
)
_FILE: Final = "inbox.db"


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a wanted alias was taken: `new` when a deployment was made for it, else `known` says which one serves."""

    new: bool
    known: Deployment | None = None


class Inbox:
    """The deliveries and deployments below `directory`."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the file, or make it. Raises `InfrastructureError` when the directory cannot be used."""
        self.directory = directory.absolute()
        self._clock = clock
        self._database = Database(self.directory / _FILE, _SCHEMA, _SCHEMA_VERSION)

    @classmethod
    def existing(cls, directory: Path) -> "Inbox":
        """Open what a relay left. Raises `UsageError` when there is none: nobody is to make one by asking."""
        if not (directory / _FILE).is_file():
            raise UsageError(
                f"no relay has worked in {directory.absolute()}: start one with `invoke webhook-relay`, or set "
                "RELAY_STATE_DIR to the directory of the one that runs"
            )
        return cls(directory)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def receive(self, delivery_id: str, wanted: Wanted, keep_seconds: float) -> Receipt:
        """Keep a delivery and what it wants, both or neither; a delivery that is known changes nothing.

        Deliveries older than `keep_seconds` are forgotten: their timestamps do not pass any more.
        """
        now = self._clock()
        with self._database.transaction():
            self._write("DELETE FROM deliveries WHERE received_at < ?", now - keep_seconds)
            added = self._write("INSERT OR IGNORE INTO deliveries VALUES (?, ?)", delivery_id, now)
            return self._want(wanted, Source.WEBHOOK) if added else Receipt(new=False)

    def want(self, wanted: Wanted, source: Source) -> Receipt:
        """Take in that an alias names a version, unless that is what was taken in last."""
        with self._database.transaction():
            return self._want(wanted, source)

    def retry(self, name: str) -> Deployment:
        """Take in the last deployment of a model once more. Raises `UsageError` when there is nothing to repeat."""
        with self._database.transaction():
            last = self._one("name = ? AND state != ? ORDER BY id DESC", name, State.SUPERSEDED)
            if last is None:
                raise UsageError(
                    f"the relay never acted on a model {name!r}; `status` lists what it acted on"
                )
            if last.state in (State.PENDING, State.RUNNING):
                self._write("UPDATE deployments SET not_before = 0 WHERE id = ?", last.id)
                return last
            return self._insert(last.wanted, Source.RETRY)

    def next_due(self) -> Deployment | None:
        """Return the pending deployment whose turn it is."""
        return self._read("state = ? AND not_before <= ? ORDER BY id", State.PENDING, self._clock())

    def seconds_to_next(self) -> float | None:
        """Tell how long until a pending deployment is due; None when there is none."""
        first = self._read("state = ? ORDER BY not_before", State.PENDING)
        return None if first is None else max(0.0, first.not_before - self._clock())

    def running(self) -> Deployment | None:
        """Return the deployment that was begun and not ended."""
        return self._read("state = ? ORDER BY id", State.RUNNING)

    def get(self, deployment_id: int) -> Deployment:
        """Return one deployment."""
        found = self._read("id = ?", deployment_id)
        assert found is not None, "deployments are never deleted"
        return found

    def acted_on(self, name: str, alias: str) -> str | None:
        """Return the version that was last acted on for an alias, whatever came of it."""
        found = self._read(
            "name = ? AND alias = ? AND state IN (?, ?, ?) ORDER BY id DESC",
            *(name, alias, State.DONE, State.DECLINED, State.FAILED),
        )
        return None if found is None else found.wanted.version

    def begin(self, deployment_id: int) -> Deployment:
        """Begin the next attempt."""
        with self._database.transaction():
            self._write(
                "UPDATE deployments SET state = ?, attempts = attempts + 1, claimed = 0, exit_code = NULL, "
                "detail = '', updated_at = ? WHERE id = ?",
                *(State.RUNNING, self._clock(), deployment_id),
            )
        return self.get(deployment_id)

    def postpone(self, deployment: Deployment, seconds: float, detail: str) -> None:
        """Let a deployment wait, for the reason `detail`; a newer one of the same model takes its place."""
        with self._database.transaction():
            newer = self._one("name = ? AND id > ? ORDER BY id DESC", deployment.wanted.name, deployment.id)
            if newer is not None:
                reason = f"{detail}; {newer.wanted.model_uri} is wanted by now"
                self._settle(deployment.id, State.SUPERSEDED, reason)
                return
            self._write(
                "UPDATE deployments SET state = ?, not_before = ?, detail = ?, updated_at = ? WHERE id = ?",
                *(State.PENDING, self._clock() + seconds, detail, self._clock(), deployment.id),
            )

    def settle(self, deployment_id: int, state: State, detail: str) -> None:
        """Write down how a deployment ended."""
        with self._database.transaction():
            self._settle(deployment_id, state, detail)

    def claim(self, deployment_id: int, attempt: int) -> bool:
        """Let one process run the command of an attempt; False when it is not its turn, now or any more."""
        with self._database.transaction():
            return self._write(
                "UPDATE deployments SET claimed = 1 WHERE id = ? AND attempts = ? AND state = ? AND claimed = 0",
                *(deployment_id, attempt, State.RUNNING),
            )

    def finish(self, deployment_id: int, attempt: int, exit_code: int) -> None:
        """Write down how the command of an attempt ended."""
        with self._database.transaction():
            self._write(
                "UPDATE deployments SET exit_code = ? WHERE id = ? AND attempts = ?",
                *(exit_code, deployment_id, attempt),
            )

    def pending_count(self) -> int:
        """Count what waits or runs."""
        query = "SELECT COUNT(*) FROM deployments WHERE state IN (?, ?)"
        with self._database.reading():
            ((count,),) = self._database.rows(query, State.PENDING, State.RUNNING)
        return int(count)

    def newest(self, limit: int) -> list[Deployment]:
        """List deployments, the newest first."""
        with self._database.reading():
            rows = self._database.rows(_SELECT + "ORDER BY id DESC LIMIT ?", limit)
        return [_deployment(row) for row in rows]

    def _want(self, wanted: Wanted, source: Source) -> Receipt:
        last = self._one(
            "name = ? AND alias = ? AND state != ? ORDER BY id DESC",
            wanted.name,
            wanted.alias,
            State.SUPERSEDED,
        )
        if last is not None and last.wanted == wanted:
            return Receipt(new=False, known=last)
        self._insert(wanted, source)
        return Receipt(new=True)

    def _insert(self, wanted: Wanted, source: Source) -> Deployment:
        now = self._clock()
        self._write(
            "UPDATE deployments SET state = ?, detail = ?, updated_at = ? WHERE name = ? AND state = ?",
            *(State.SUPERSEDED, f"{wanted.model_uri} is wanted by now", now, wanted.name, State.PENDING),
        )
        self._write(
            "INSERT INTO deployments (name, alias, version, state, source, key, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(wanted.name, wanted.alias, wanted.version, State.PENDING, source),
            *(secrets.token_hex(4), now, now),
        )
        inserted = self._one("name = ? ORDER BY id DESC", wanted.name)
        assert inserted is not None
        return inserted

    def _settle(self, deployment_id: int, state: State, detail: str) -> None:
        self._write(
            "UPDATE deployments SET state = ?, detail = ?, updated_at = ? WHERE id = ?",
            *(state, detail, self._clock(), deployment_id),
        )

    def _read(self, condition: str, *values: object) -> Deployment | None:
        with self._database.reading():
            return self._one(condition, *values)

    def _one(self, condition: str, *values: object) -> Deployment | None:
        rows = self._database.rows(f"{_SELECT} WHERE {condition} LIMIT 1", *values)
        return _deployment(rows[0]) if rows else None

    def _write(self, statement: str, *values: object) -> bool:
        return self._database.write(statement, *values)


def _deployment(row: tuple[Any, ...]) -> Deployment:
    number, name, alias, version, state, source, *rest = row
    return Deployment(number, Wanted(name, alias, version), State(state), Source(source), *rest)
