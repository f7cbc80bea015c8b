"""One SQLite file, shared by threads and processes: every change is one transaction that is on the disk at its end."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rollout.errors import InfrastructureError, UsageError

__all__ = ["Database"]

#: How long a writer waits for another one. Transactions here take milliseconds.
_BUSY_SECONDS: Final = 10.0


class Database:
    """The file at `path`, made with the statements of `schema` when it does not exist."""

    def __init__(self, path: Path, schema: str, version: int) -> None:
        """Open it. Raises `InfrastructureError`, and `UsageError` when its tables are newer than `version`."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Every change opens and ends its transaction itself; the lock keeps threads apart.
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        try:
            self._prepare(schema, version)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what `query` finds. Within a transaction it sees what that changed."""
        return self._connection.execute(query, values).fetchall()

    def write(self, statement: str, *values: object) -> bool:
        """Change rows within a transaction; return whether there were any."""
        return self._connection.execute(statement, values).rowcount > 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the file for this thread. Raises `InfrastructureError` for what SQLite refuses."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make changes, all or none. Raises `InfrastructureError` for what SQLite refuses."""
        with self.reading():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself ends it when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self, schema: str, version: int) -> None:
        with self.reading():
            self._connection.execute("PRAGMA journal_mode = WAL")
            # With FULL a commit is on the disk, also when the power goes: the sender was told that we have it.
            self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            ((found,),) = self.rows("PRAGMA user_version")
            if found > version:
                raise UsageError(
                    f"{self.path} was written by a newer relay (tables {found}, known here {version}): run that "
                    "one, or set RELAY_STATE_DIR to another directory"
                )
            for statement in schema.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {version}")

    def _unusable(self, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the relay's state {self.path} cannot be used: {error}; free space, give this user the right to "
            "write there, or set RELAY_STATE_DIR to another directory"
        )
