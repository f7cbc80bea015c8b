"""A growing file, read line by line as it grows."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from drift.current.cut_line import MAX_LINE_BYTES

__all__ = ["LogTail"]

#: First bytes of a file that tell it from its successor: the first line begins with a time.
_HEAD_BYTES: Final = 256
#: Read at once.
_BLOCK_BYTES: Final = 1 << 20


class LogTail:
    """The lines that a growing file gained since they were last taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._identity: tuple[int, int] | None = None
        self._head = b""

    def lines(self) -> Iterator[bytes]:
        """Yield each new complete line, cut at `MAX_LINE_BYTES`; a line still being written waits.

        A file that was truncated or replaced is read from its start; since a new file may get the inode of
        the old one, its first bytes must be the same too. Raises `OSError`.
        """
        with self._path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            head = file.read(_HEAD_BYTES)
            same = identity == self._identity and head.startswith(self._head)
            if not same or status.st_size < self._offset:
                self._offset = 0
            self._identity, self._head = identity, head
            file.seek(self._offset)
            begun = b""  # of a line whose end is in a later block
            position = self._offset
            # Up to the size at the start: a writer faster than us must not keep us here.
            while position < status.st_size:
                block = file.read(min(_BLOCK_BYTES, status.st_size - position))
                if not block:
                    return
                position += len(block)
                *lines, rest = block.split(b"\n")
                if lines:
                    lines[0] = begun + lines[0]
                    begun = b""
                    self._offset = position - len(rest)
                    for line in lines:
                        yield line[:MAX_LINE_BYTES]
                begun = (begun + rest)[:MAX_LINE_BYTES]
