"""Places: written so that a reader never sees half a file or half a directory, named without credentials."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from training.errors import ConfigError, StorageError

__all__ = [
    "describe",
    "place_of",
    "public_uri",
    "staged_directory",
    "staged_file",
    "storage_errors",
    "write_atomically",
]

#: Schemes of `training.data.sources`: the key of an object may hold `@`, as in `s3://bucket/a@b.csv`.
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_END_OF_AUTHORITY: Final = re.compile(r"[/?#]")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)


def describe(error: OSError) -> str:
    """Return the reason in the system's words, without its number."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2])  # (from, to, why) of each file of a tree that could not be copied
    return error.strerror or str(error)


def place_of(error: OSError) -> str | None:
    """Return the path that could not be written, None when the error names none."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][1])
    # Of two names the second is where a copy or a move went.
    name = error.filename2 or error.filename
    return None if name is None else os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)


@contextlib.contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` about `path`, or the file that the error names."""
    try:
        yield
    except OSError as error:
        raise StorageError(place_of(error) or str(path), describe(error)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` aside, sync it and rename it to `path`. Raises `StorageError`."""
    with staged_file(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream that becomes `path`, synced, when the block ends well, else vanishes.

    Raises `StorageError`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(aside, 0o666 & ~_umask())  # mkstemp makes files that only the owner reads
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def staged_directory(destination: Path | None) -> Iterator[Path]:
    """Yield an empty directory that becomes `destination` when the block ends well, else vanishes.

    With None it always vanishes. It is made before the work starts, so that a place that cannot be written
    is known at once. Raises `ConfigError` when `destination` holds something already, and `StorageError`.
    """
    if destination is None:
        with storage_errors(tempfile.gettempdir()):
            aside = Path(tempfile.mkdtemp(prefix="coalmine-bundle-"))
    else:
        destination = destination.absolute()
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            problem = "--bundle-dir: it exists and is not empty; name a new directory, or remove it first"
            raise ConfigError([problem], source=str(destination))
        with storage_errors(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        yield aside
        if destination is not None:
            with storage_errors(destination):
                aside.chmod(0o777 & ~_umask())
                if destination.exists():
                    destination.rmdir()  # empty, as checked; Windows renames onto nothing that exists
                aside.rename(destination)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def public_uri(source: str) -> str:
    """Return a URI without user, password and query, even where nobody quoted these; a path unchanged."""
    scheme, _, rest = source.partition("://")
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    if not authority:
        return source  # a path, or sqlite:///path
    if scheme.lower() in _OBJECT_STORES and not _has_open_password(authority):
        rest = authority.rpartition("@")[2] + rest.removeprefix(authority)
    else:
        rest = rest.rpartition("@")[2]  # a password with a slash in it goes on behind the first slash
    return f"{scheme.lower()}://{_QUERY.sub('', rest)}"


def _has_open_password(authority: str) -> bool:
    """Tell whether a password begins here and ends behind a slash: no bucket but an ARN has a colon in its name."""
    return ":" in authority and "@" not in authority and not authority.startswith("arn:")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
