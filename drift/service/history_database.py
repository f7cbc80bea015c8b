"""The database of the history: its tables, and who may open it."""

import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

from drift.errors import HistoryError

__all__ = ["BUSY_SECONDS", "is_damage", "open_database", "within_transaction"]

#: How long a transaction waits for that of another process. They take milliseconds.
BUSY_SECONDS: Final = 5.0
#: Marks the file as ours, so that a database of another program is refused and not written to: "Coal".
APPLICATION_ID: Final = 0x436F616C
SCHEMA_VERSION: Final = 1
#: A run refers to what stays the same from run to run: its columns with their methods and thresholds. The indexes
#: hold all that is asked of many runs at once, since each record has pages of its own.
_SCHEMA: Final = """
CREATE TABLE columns (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    raised INTEGER NOT NULL,
    worst REAL NOT NULL,
    columns INTEGER NOT NULL REFERENCES columns (id),
    record TEXT NOT NULL
);
CREATE INDEX runs_at ON runs (at, raised, worst);
CREATE INDEX runs_columns ON runs (columns);
CREATE INDEX runs_errors ON runs (reason, at) WHERE outcome = 'error';
CREATE TABLE distributions (run INTEGER PRIMARY KEY REFERENCES runs (id), record TEXT NOT NULL)
"""
#: SQLite's primary result codes for a file that is not, or no longer, a database.
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Result = TypeVar("Result")


def open_database(address: str, name: str, *, check: str = "quick_check") -> sqlite3.Connection:
    """Return a connection to the database at `address`, which `name` names in sentences, made when there is none.

    `check` is the pragma that looks for damage. Raises `HistoryError` when it is not ours, `sqlite3.Error`.
    """
    connection = sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        within_transaction(connection, "BEGIN", lambda opened: _refuse_others(opened, name))
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode a power cut may take the last runs, and never damages the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        ((found,),) = connection.execute(f"PRAGMA {check}(1)").fetchall()
        if found != "ok":
            raise _DamagedError(found)
        within_transaction(connection, "BEGIN IMMEDIATE", _prepare)
    except BaseException:
        connection.close()
        raise
    return connection


def within_transaction(
    connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], Result]
) -> Result:
    """Return what `work` returns, in a transaction that `begin` begins: all of its changes are made, or none."""
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends it when the disk is full
            connection.execute("ROLLBACK")
        raise
    return result


def is_damage(error: sqlite3.Error) -> bool:
    """Whether `error` says that the file is not, or no longer, a database."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE


class _DamagedError(sqlite3.DatabaseError):
    """What `quick_check` found."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _refuse_others(connection: sqlite3.Connection, name: str) -> None:
    """Raise `HistoryError` for a database that is not ours to write to."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if _has_tables(connection) and application != APPLICATION_ID:
        raise HistoryError(name, "it is the database of another program")
    if version > SCHEMA_VERSION:
        raise HistoryError(name, f"a newer Coalmine wrote it (tables {version}, known here {SCHEMA_VERSION})")


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file."""
    if _has_tables(connection):
        return
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _has_tables(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables)
