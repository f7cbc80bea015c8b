"""Files and objects of stores, read alike: what an object is now (its stamp), and its bytes."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from drift.data.location import Location
from drift.errors import UnreadableObjectError

__all__ = ["Opened", "open_object", "read_stamp"]

#: What was fetched stays in memory up to here, beyond on the disk: a reference of 40,000 x 20 is in memory.
_IN_MEMORY_BYTES: Final = 16 << 20


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
        return _file_stamp(location.path.stat())


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
        stream = location.path.open("rb")
    with stream:
        yield Opened(stream, _file_stamp(os.fstat(stream.fileno())))


def _file_stamp(status: os.stat_result) -> str:
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"


@contextlib.contextmanager
def _file_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        remedy = "give the path of one that exists"
        raise UnreadableObjectError(str(location), "is missing, no such file", remedy, missing=True) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        told = error.strerror if isinstance(error, OSError) else str(error)
        remedy = "give a file that this user may read"
        raise UnreadableObjectError(str(location), f"cannot be read ({told})", remedy) from None
