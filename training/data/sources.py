"""Where a file of rows lies: on this disk, or in an object store, from which it is fetched first.

Addresses and credentials come from each store's own standard variables and files; none is ever shown.
"""

import contextlib
import errno
import importlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from training.data.source_errors import explain
from training.errors import DatasetError, ExitCode, StorageError
from training.storage import describe, public_uri

__all__ = ["Store", "local_file"]

#: A store that does not say whether there is such an object is given up after this. Left alone, the libraries for
#: Google and Azure try for 30 and 80 seconds.
_ANSWER_SECONDS: Final = 15
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60


@dataclass(frozen=True)
class Store:
    """An object store: what reads it, what that raises, and where its credentials are looked for."""

    name: str
    extra: str
    module: str
    filesystem: str
    raised: tuple[str, ...]
    credentials: str
    endpoint: str
    options: Mapping[str, Any]


_S3: Final = Store(
    name="S3",
    extra="s3",
    module="s3fs",
    filesystem="S3FileSystem",
    raised=("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError", "aiohttp.ClientError"),
    credentials="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    endpoint="AWS_ENDPOINT_URL",
    options={
        "config_kwargs": {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "retries": {"max_attempts": 1},
        }
    },
)
_GCS: Final = Store(
    name="Google Cloud Storage",
    extra="gcs",
    module="gcsfs.core",  # the one that speaks HTTP only: emulators lack gRPC, and one table needs none
    filesystem="GCSFileSystem",
    raised=(
        "gcsfs.retry.HttpError",
        "google.auth.exceptions.GoogleAuthError",
        "google.api_core.exceptions.GoogleAPIError",
        "aiohttp.ClientError",
    ),
    credentials="GOOGLE_APPLICATION_CREDENTIALS",
    endpoint="STORAGE_EMULATOR_HOST",
    options={},
)
_AZURE: Final = Store(
    name="Azure Blob Storage",
    extra="azure",
    module="adlfs",
    filesystem="AzureBlobFileSystem",
    raised=("azure.core.exceptions.AzureError", "aiohttp.ClientError"),
    credentials="AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    endpoint="AZURE_STORAGE_CONNECTION_STRING",
    options={},
)
_LOGGERS: Final = (
    "adlfs",
    "aiobotocore",
    "asyncio",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "s3fs",
)
_STORES: Final[Mapping[str, Store]] = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
}


@contextlib.contextmanager
def local_file(source: str) -> Iterator[Path]:
    """Yield `source`, a path or a URI, as a file on this disk; what was fetched vanishes with the block.

    Raises `DatasetError` with what is wrong and what to do, and `StorageError` when there is no space.
    """
    scheme = urlsplit(source).scheme.lower() if "://" in source else ""
    if scheme in ("", "file"):
        yield _existing(source, Path(unquote(urlsplit(source).path)) if scheme else Path(source))
        return
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in ("file", "s3", "gs", "az"))
        reason, remedy = f"tables at {scheme}:// are not supported", f"give a path, or a URI of {known}"
        raise DatasetError(public_uri(source), reason, remedy, exit_code=ExitCode.USAGE)
    if not urlsplit(source).path.strip("/"):
        reason, remedy = "it names a bucket and no object in it", f"write {scheme}://BUCKET/PATH/TO/TABLE.csv"
        raise DatasetError(public_uri(source), reason, remedy, exit_code=ExitCode.USAGE)
    with tempfile.TemporaryDirectory(prefix="coalmine-table-") as directory:
        path = Path(directory) / "table"
        _fetch(_STORES[scheme], source, path)
        yield path


def _existing(source: str, path: Path) -> Path:
    try:
        if path.is_file():
            return path
        found = "it is a directory" if path.is_dir() else "the file does not exist"
    except OSError as error:  # a name that no file can have
        found = describe(error)
    remedy = "name an existing CSV or Parquet file, or a built-in dataset (iris, diabetes)"
    raise DatasetError(source, found, remedy, exit_code=ExitCode.USAGE)


def _fetch(store: Store, source: str, path: Path) -> None:
    """Copy the object to `path`."""
    shown = public_uri(source)
    try:
        kind = getattr(importlib.import_module(store.module), store.filesystem)
    except ImportError:
        reason = f"tables in {store.name} need the extra {store.extra!r}, which is not installed"
        remedy = f'run: pip install ".[{store.extra}]"'
        raise DatasetError(shown, reason, remedy, exit_code=ExitCode.USAGE) from None
    key_file = os.environ.get(_GCS.credentials, "") if store is _GCS else ""
    if key_file and not Path(key_file).is_file():  # gcsfs would go on to ask for half a minute elsewhere
        reason, remedy = f"{_GCS.credentials} names a file that does not exist", "correct it, or unset it"
        raise DatasetError(shown, reason, remedy, exit_code=ExitCode.INFRASTRUCTURE)
    for name in _LOGGERS:  # what they log reaches us as an exception, and becomes a sentence
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    raised: list[type[Exception]] = [OSError, ValueError, RuntimeError, *map(_named, store.raised)]
    try:
        # An instance of its own: fsspec keeps those it made, with credentials that may have changed since.
        filesystem = kind(skip_instance_cache=True, **store.options, **_emulated(store))
        found = filesystem.info(_plain(shown), timeout=_ANSWER_SECONDS)
        if found["type"] != "file":
            raise FileNotFoundError(shown)
        filesystem.get_file(_plain(shown), str(path))
    except tuple(raised) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(str(path.parent), describe(error)) from error
        reason, remedy, code = explain(error, store.credentials, store.endpoint)
        raise DatasetError(shown, reason, remedy, exit_code=code) from error


def _emulated(store: Store) -> Mapping[str, Any]:
    """Return what an emulator of Google's store needs: it has no credentials, and asking for some takes long."""
    if store is _GCS and os.environ.get(_GCS.endpoint) and not os.environ.get(_GCS.credentials):
        return {"token": "anon"}
    return {}


def _plain(source: str) -> str:
    """Return `source` as file systems take it: s3a:// and the like are other names for the same."""
    scheme, _, rest = source.partition("://")
    return f"{'s3' if scheme == 's3a' else scheme}://{rest}"


def _named(name: str) -> type[Exception]:
    module, _, kind = name.rpartition(".")
    found: type[Exception] = getattr(importlib.import_module(module), kind)
    return found
