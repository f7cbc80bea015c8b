"""Calls of MLflow that end in a value or a sentence: tried again where it helps, impatient where it must be.

Over HTTP MLflow itself tries again, with growing waits and `Retry-After`, on 408, 429, 5xx and on connections
that fail; how often is set here, and a user's own `MLFLOW_HTTP_REQUEST_*` win. A SQLite database that another
process holds is tried again here: MLflow gives up after the driver's five seconds.
"""

import contextlib
import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import requests.exceptions
import sqlalchemy.exc
from mlflow.exceptions import MlflowException

from training.errors import RegistryError, StorageError
from training.storage import describe, place_of, public_uri

__all__ = ["ALREADY_EXISTS", "IMPATIENT", "ONCE", "PATIENT", "Calls"]

T = TypeVar("T")

#: The first call only asks whether anybody answers, so it may be impatient; a user's own values win. MLflow's
#: own (120 s, 7 retries that wait ever longer) would hold up a pipeline for minutes.
IMPATIENT: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
PATIENT: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
#: For what must not be done twice, whatever the user set: whoever asks looks whether it was done, and asks again.
ONCE: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}

#: MLflow's word for what is there already.
ALREADY_EXISTS: Final = "RESOURCE_ALREADY_EXISTS"

#: Each try waits five seconds for the lock already (sqlite3's own default), so this is half a minute at least.
_LOCKED_TRIES: Final = 5
_FIRST_WAIT_SECONDS: Final = 0.2
_REASON_LENGTH: Final = 300
#: SQLite's own words, which reach us through two libraries.
_FULL_DATABASE: Final = "database or disk is full"
_LOCKED_DATABASE: Final = ("database is locked", "database table is locked")


class Calls:
    """Makes calls of the registry at `tracking_uri` and turns what they raise into errors of this package."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    def ask(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; it must be one that may be made twice.

        Raises `RegistryError`, or `StorageError` when something cannot be written.
        """
        for tried in range(1, _LOCKED_TRIES + 1):
            try:
                with self.errors():
                    return call()
            except RegistryError as error:
                if tried == _LOCKED_TRIES or not any(words in error.reason for words in _LOCKED_DATABASE):
                    raise
                # Apart from each other, so that those who met once do not meet again.
                time.sleep(_FIRST_WAIT_SECONDS * 2**tried * random.uniform(0.5, 1.5))
        raise AssertionError("the last try returned or raised")

    @contextlib.contextmanager
    def errors(self, patience: Mapping[str, str] = PATIENT) -> Iterator[None]:
        """Turn what MLflow, its database or the disk raises inside the block into one of our errors."""
        try:
            with _environment(patience, override=patience is ONCE):
                yield
        except (
            MlflowException,
            requests.exceptions.RequestException,  # an OSError too, so it stands before that
            sqlalchemy.exc.SQLAlchemyError,
        ) as error:
            cause = error.__cause__ or error.__context__
            if (
                isinstance(error, MlflowException)
                and isinstance(cause, OSError)
                and cause.errno == errno.ENOSPC
            ):
                raise self._storage_error(cause) from error
            if _FULL_DATABASE in str(error):
                raise StorageError(public_uri(self.tracking_uri), _FULL_DATABASE) from error
            code = str(getattr(error, "error_code", ""))
            raise RegistryError(
                public_uri(self.tracking_uri), _reason(error), _remedy(error), code
            ) from error
        except ImportError as error:  # MLflow and SQLAlchemy import a driver when its registry is asked for
            remedy = f"install the driver (the Python module {error.name}), or correct MLFLOW_TRACKING_URI"
            raise RegistryError(public_uri(self.tracking_uri), _reason(error), remedy) from error
        except OSError as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: OSError) -> StorageError:
        """Name the file under the registry; else the registry, whose files they are."""
        return StorageError(place_of(error) or public_uri(self.tracking_uri), describe(error))


def _reason(error: Exception) -> str:
    # SQLAlchemy adds the statement and a link, which tell a person nothing.
    text = " ".join(str(error).partition("[SQL:")[0].split())
    if "Max retries exceeded" in text:
        # urllib3 wraps the cause three times; the innermost words are what a person needs.
        text = "it does not answer (" + text.rpartition(": ")[2].strip(" '\")") + ")"
    return text[:_REASON_LENGTH].rstrip(". ")


def _remedy(error: Exception) -> str:
    if any(words in str(error) for words in _LOCKED_DATABASE):
        return (
            "another process holds the database for long: end it, or run a tracking server for several users"
        )
    return ""


@contextlib.contextmanager
def _environment(values: Mapping[str, str], *, override: bool) -> Iterator[None]:
    """Set variables for the time of the block, as MLflow reads them at each call; a user's own stay by default."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update({key: value for key, value in values.items() if override or before[key] is None})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
