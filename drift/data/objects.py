"""Files and objects of stores, read alike: what an object is now (its stamp), and its bytes."""

import contextlib
import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from drift.data.location import Location
from drift.errors import UnreadableObjectError

__all__ = ["NotRegularFileError", "Opened", "open_object", "open_regular", "read_stamp"]

#: What was fetched stays in memory up to here, beyond on the disk: a reference of 40,000 x 20 is in memory.
_IN_MEMORY_BYTES: Final = 16 << 20


class NotRegularFileError(OSError):
    """A directory, a pipe, a device: nothing that can be read from its start to its end, and again."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EINVAL, "it is no regular file", path)


@dataclass(frozen=True, slots=True)
class Opened:
    """The bytes of an object, which can be read from any place, and the stamp of just these bytes."""

    stream: BinaryIO
    stamp: str


def read_stamp(location: Location) -> str:
    """Return what changes when the object is replaced: its ETag, or inode, time and size of a file.

    Asks for no content. Raises `UnreadableObjectError`.
    """
    if location.store is not None:
        from drift.data.store_objects import object_stamp  # noqa: PLC0415 - 17 MiB that readers of files do without

        return object_stamp(location)
    with _file_errors(location):
        status = location.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularFileError(location.name)
        return _file_stamp(status)


@contextlib.contextmanager
def open_object(location: Location) -> Iterator[Opened]:
    """Yield the object; what was fetched from a store vanishes with the block. Raises `UnreadableObjectError`."""
    if location.store is not None:
        from drift.data.store_objects import copy_object  # noqa: PLC0415 - as above

        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
            stream = cast("BinaryIO", spool)
            stamp = copy_object(location, stream)
            stream.seek(0)
            yield Opened(stream, stamp)
        return
    with _file_errors(location):
        stream = cast("BinaryIO", io.BufferedReader(open_regular(location.path)))
    with stream:
        yield Opened(stream, _file_stamp(os.fstat(stream.fileno())))


def open_regular(path: Path) -> io.FileIO:
    """Open a file to read, without a buffer. Raises `OSError`, `NotRegularFileError` for what is none."""
    return io.FileIO(path, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    if stat.S_ISSOCK(os.stat(path).st_mode):  # which cannot be opened at all
        raise NotRegularFileError(path)
    # Without it, to open a pipe is to wait for its writer, and no check before knows what is opened then.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(path)
    return descriptor


def _file_stamp(status: os.stat_result) -> str:
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"


@contextlib.contextmanager
def _file_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        remedy = "give the path of one that exists"
        raise UnreadableObjectError(str(location), "is missing, no such file", remedy, missing=True) from None
    except NotRegularFileError:
        remedy = "give the path of a file"
        raise UnreadableObjectError(str(location), "is no regular file", remedy) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        told = error.strerror if isinstance(error, OSError) else str(error)
        remedy = "give a file that this user may read"
        raise UnreadableObjectError(str(location), f"cannot be read ({told})", remedy) from None
