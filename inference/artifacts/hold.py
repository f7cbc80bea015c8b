"""Marks of use: a bundle that a living process holds is not evicted from the cache.

A mark is a shared lock (`flock`) on a file of the cache. The system takes it back when the process ends,
however that happens. Where there is no `flock` (Windows) nothing is marked, and nothing evicted.
"""

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

__all__ = ["CAN_HOLD", "Hold", "hold", "unless_held"]

#: Whether this platform has marks of use.
CAN_HOLD: Final = sys.platform != "win32"


class Hold:
    """The mark that this process uses a bundle.

    It lasts until `release`, until nothing refers to it any more, or until the process ends. So who serves a
    bundle only has to keep a reference beside it.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._close = None if descriptor is None else weakref.finalize(self, os.close, descriptor)

    @property
    def held(self) -> bool:
        """Whether the mark is there; false after `release`, and where it could not be set."""
        return self._close is not None and self._close.alive

    def release(self) -> None:
        """Take the mark back; a second time does nothing."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold(file: Path) -> Hold:
    """Mark `file`, and note the time of use in it.

    In a directory that this process cannot write it cannot evict either; then the mark is empty.
    """
    if sys.platform == "win32":
        return Hold(None)
    import fcntl  # noqa: PLC0415 (there is none on Windows)

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return Hold(None)
    mark = Hold(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for an eviction, which takes one rename
        os.utime(descriptor)
    except OSError:  # a file system without locks
        mark.release()
    return mark


@contextlib.contextmanager
def unless_held(file: Path) -> Iterator[bool]:
    """Give true, and keep every process from marking `file` meanwhile; false when one has marked it."""
    if sys.platform == "win32":
        yield False
        return
    import fcntl  # noqa: PLC0415 (there is none on Windows)

    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            free = False
        else:
            free = True
        yield free
    finally:
        os.close(descriptor)
