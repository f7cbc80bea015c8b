"""The SQLite file of the history: opened, checked, and replaced when it is damaged.

Several processes may share the file: every change is one transaction, and a file that another process replaced is
noticed and opened anew. Nothing here is worth a failing service: what SQLite refuses becomes one `HistoryError`.
"""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import structlog
from filelock import FileLock

from drift.errors import HistoryError
from drift.service.history_database import BUSY_SECONDS, is_damage, open_database, within_transaction

__all__ = ["HistoryFile"]

#: The files of one database; the first is the database itself.
_SUFFIXES: Final = ("", "-wal", "-shm")

log = structlog.stdlib.get_logger("drift")
Result = TypeVar("Result")


class HistoryFile:
    """The database at `path`, or one in memory when `path` is None. Safe to use from several threads."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def name(self) -> str:
        """The path for sentences."""
        return "in memory" if self.path is None else str(self.path)

    def transact(self, work: Callable[[sqlite3.Connection], Result], *, changes: bool = False) -> Result:
        """Return what `work` returns, all of its changes made or none; begin anew when the file is damaged.

        Raises `HistoryError` for what SQLite or the system refuses.
        """
        begin = "BEGIN IMMEDIATE" if changes else "BEGIN"
        with self._lock:
            try:
                try:
                    return within_transaction(self._connected(), begin, work)
                except sqlite3.DatabaseError as error:
                    if self.path is None or not is_damage(error):
                        raise
                    self._set_aside(self.path, error)
                    return within_transaction(self._connected(), begin, work)
            except (sqlite3.Error, OSError) as error:
                self._disconnect()  # the next call begins with a fresh look at the file
                raise HistoryError(self.name, _reason(error)) from error

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            self._disconnect(forget=True)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_in_place():
            return self._connection
        self._disconnect()
        if self.path is None:
            self._connection = open_database(":memory:", self.name)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = open_database(str(self.path), self.name)
            self._inode = self.path.stat().st_ino
        return self._connection

    def _is_in_place(self) -> bool:
        """Whether the open file is still the one at the path: others may replace or delete it."""
        try:
            return self.path is None or self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _set_aside(self, path: Path, error: sqlite3.Error) -> None:
        """Move the damaged file away, unless another process was faster. One is kept: the last."""
        self._disconnect()
        with FileLock(f"{path}.lock", timeout=BUSY_SECONDS):
            try:
                open_database(str(path), self.name, check="integrity_check").close()
            except sqlite3.DatabaseError as damage:
                if not is_damage(damage):
                    raise
            else:
                return
            aside = path.with_name(path.name + ".damaged")
            for suffix in _SUFFIXES:
                source, target = Path(f"{path}{suffix}"), Path(f"{aside}{suffix}")
                target.unlink(missing_ok=True)
                if source.exists():
                    os.replace(source, target)
        log.error(
            "the drift history is damaged: it was moved aside, and a new one is begun",
            path=str(path),
            moved_to=str(aside),
            reason=_reason(error),
        )

    def _disconnect(self, *, forget: bool = False) -> None:
        if self._connection is None or (self.path is None and not forget):
            return
        self._connection.close()
        self._connection = None


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
