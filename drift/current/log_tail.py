"""A growing file, read line by line as it grows, and to its end when another takes its name."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from drift.current.cut_line import MAX_LINE_BYTES
from drift.data.objects import open_regular

__all__ = ["LogTail"]

#: First bytes of a file that tell it from its successor: the first line begins with a time.
_HEAD_BYTES: Final = 256
#: Read at once.
_BLOCK_BYTES: Final = 1 << 20
#: What some programs begin a text with.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

log = structlog.stdlib.get_logger("drift")


class LogTail:
    """The lines that a growing file gained since they were last taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._size = 0
        self._identity: tuple[int, int] | None = None
        self._head = b""

    def lines(self) -> Iterator[bytes]:
        """Yield each new complete line, cut at `MAX_LINE_BYTES`; a line still being written waits.

        A file that was truncated or replaced is read from its start; since a new file may get the inode of
        the old one, its first bytes must be the same too. The old one is read to its end first, under the name that
        rotation gave it or its copy; if there is none, the log says what is lost. Raises `OSError`.
        """
        with open_regular(self._path) as file:
            status = os.fstat(file.fileno())
            identity, head = _identity(status), file.read(_HEAD_BYTES)
            same = identity == self._identity and head.startswith(self._head)
            if not same or status.st_size < self._offset:
                yield from self._finish(identity)
                self._offset = 0
            self._identity, self._head = identity, head
            yield from self._read(file, status.st_size)

    def moved(self) -> Path | None:
        """Return the name that the file has now that was read under another one, None when it has none."""
        for path in self._siblings():
            try:
                if _identity(path.stat()) == self._identity and self._begins(path):
                    return path
            except OSError:  # gone meanwhile
                continue
        return None

    def follow(self, path: Path) -> None:
        """Go on with the same file under another name."""
        self._path = path

    def rest(self) -> Iterator[bytes]:
        """Yield the new lines of a file that was moved away and that nothing replaced yet. Raises `OSError`."""
        path = self.moved()
        if path is None:
            return
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if _identity(status) == self._identity:
                yield from self._read(file, status.st_size)

    def _finish(self, successor: tuple[int, int]) -> Iterator[bytes]:
        """Yield what was not read of the file that the successor took the place of."""
        if self._identity is None:
            return
        path = self._copy() if successor == self._identity else self.moved()
        if path is None:
            log.warning(
                "a log was truncated or taken away: what was written to it after the last read is lost",
                path=str(self._path),
                lost_bytes_at_least=max(0, self._size - self._offset),
            )
            return
        with open_regular(path) as file:
            end = os.fstat(file.fileno()).st_size
            yield from self._read(file, end)
            if self._offset < end:  # nobody will end this line
                file.seek(self._offset)
                yield file.read(min(end - self._offset, MAX_LINE_BYTES))

    def _copy(self) -> Path | None:
        """Return the copy that was made before the file was truncated in place (`copytruncate` of logrotate)."""
        if len(self._head) < _HEAD_BYTES:  # too little to tell it by
            return None
        for path in self._siblings():
            if path.name.startswith(self._path.stem):
                try:
                    if self._begins(path):
                        return path
                except OSError:
                    continue
        return None

    def _begins(self, path: Path) -> bool:
        """Whether a file begins as ours does, and has at least what was read: an inode may have a new owner."""
        with open_regular(path) as file:
            has_all = os.fstat(file.fileno()).st_size >= self._offset
            return has_all and file.read(_HEAD_BYTES).startswith(self._head)

    def _siblings(self) -> list[Path]:
        return sorted(path for path in self._path.parent.iterdir() if path != self._path)

    def _read(self, file: BinaryIO, end: int) -> Iterator[bytes]:
        """Yield the complete lines up to `end`, the size at the start: a faster writer must not keep us here."""
        self._size = end
        position = self._offset
        file.seek(position)
        begun = b""  # of a line whose end is in a later block
        while position < end:
            block = file.read(min(_BLOCK_BYTES, end - position))
            if not block:
                return
            position += len(block)
            *lines, rest = block.split(b"\n")
            if lines:
                lines[0] = begun + lines[0]
                if self._offset == 0:
                    lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
                begun = b""
                self._offset = position - len(rest)
                for line in lines:
                    yield line[:MAX_LINE_BYTES]
            begun = (begun + rest)[:MAX_LINE_BYTES]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
