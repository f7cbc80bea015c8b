"""A SQLite registry that does not exist yet: made aside, and put in place whole.

MLflow makes its tables by dozens of migrations, seconds of work that no transaction holds together. A process
killed in between leaves a database that MLflow can neither use nor repair, and two that start at once in an
empty directory disturb each other.
"""

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from filelock import FileLock
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

from training.errors import ConfigError, RegistryError
from training.storage import storage_errors

__all__ = ["database_path", "prepare_sqlite", "require_existing"]

_PREFIX: Final = "sqlite:///"
#: Whoever holds the lock renames one file; a process that was killed holds none.
_WAIT_SECONDS: Final = 30.0


def database_path(tracking_uri: str) -> Path | None:
    """Return the file of a `sqlite:///` URI; None for any other URI."""
    if not tracking_uri.startswith(_PREFIX):
        return None
    return Path(tracking_uri.removeprefix(_PREFIX).partition("?")[0])


def require_existing(tracking_uri: str) -> None:
    """Raise `ConfigError` when a `sqlite:///` URI has no file: MLflow would make an empty registry there."""
    path = database_path(tracking_uri)
    if path is not None and not path.exists():
        problem = (
            "train a model first (`python -m training.train`), or set MLFLOW_TRACKING_URI to where models are"
        )
        raise ConfigError([f"MLFLOW_TRACKING_URI: there is no registry at {tracking_uri}; {problem}"])


def prepare_sqlite(tracking_uri: str) -> None:
    """Create the database of a `sqlite:///` URI if there is none; leave other URIs alone.

    Raises `StorageError`, and `RegistryError` when the file is no database (MLflow would retry for minutes).
    """
    path = database_path(tracking_uri)
    if path is None:
        return
    with storage_errors(path):
        if path.exists() and path.stat().st_size:
            _require_database(path, tracking_uri)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        aside = Path(name)
        try:
            _create_tables(aside)
            aside.chmod(0o644)
            _put_in_place(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _create_tables(path: Path) -> None:
    engine = create_sqlalchemy_engine(  # type: ignore[no-untyped-call]
        f"{_PREFIX}{path}"
    )
    try:
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def _put_in_place(aside: Path, path: Path) -> None:
    """Move `aside` to `path`, unless another process was first."""
    try:
        os.link(aside, path)
        return
    except FileExistsError:
        if path.stat().st_size:
            return
    except OSError:  # a file system without hard links
        pass
    # To look and to replace are two steps: between them nobody else may put a database there.
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=_WAIT_SECONDS):
        if not path.exists() or not path.stat().st_size:
            os.replace(aside, path)


def _require_database(path: Path, tracking_uri: str) -> None:
    try:
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        remedy = "move the file away, or point MLFLOW_TRACKING_URI at another registry"
        raise RegistryError(tracking_uri, str(error), remedy) from error
