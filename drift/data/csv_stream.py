"""The text of a CSV file as Arrow reads it: plain or unpacked, behind its header."""

import csv
import gzip
import io
import threading
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from drift.data.content import BrokenContentError, first_line, refuse_other_content

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["CsvStream", "read_header"]

#: The header line is looked for in so much of the file.
_HEADER_BYTES: Final = 1 << 20


class CsvStream(io.RawIOBase):
    """What Arrow reads from: the rest of a stream of which the start is looked at first; it counts quotes."""

    def __init__(self, source: BinaryIO | gzip.GzipFile) -> None:
        self._source = source
        self._ahead = b""
        self._lock = threading.Lock()
        self.quotes = 0

    def readable(self) -> bool:
        """Say so to Python's own readers."""
        return True

    def close(self) -> None:
        """Read no more: Arrow reads ahead in a thread, which must not move the stream once the next one reads it."""
        with self._lock:
            super().close()

    def look(self, size: int) -> bytes:
        """Return the first bytes, at most `size`, and leave them there."""
        while len(self._ahead) < size and (more := self._get(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def skip(self, size: int) -> None:
        """Leave out so many of the bytes that were looked at."""
        self._ahead = self._ahead[size:]

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`, nothing at the end. Raises `BrokenContentError`."""
        with self._lock:
            if self.closed:
                return b""
            if self._ahead:
                end = len(self._ahead) if size < 0 else size
                found, self._ahead = self._ahead[:end], self._ahead[end:]
            else:
                found = self._get(size)
            self.quotes += found.count(b'"')
            return found

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read into a buffer, which is how Python's own readers read."""
        target = memoryview(buffer).cast("B")
        found = self.read(len(target))
        target[: len(found)] = found
        return len(found)

    def _get(self, size: int) -> bytes:
        try:
            return bytes(self._source.read(size))
        except (EOFError, OSError, zlib.error) as error:
            raise BrokenContentError(
                f"cannot be read ({first_line(error)})", "write the file again"
            ) from None


def read_header(text: CsvStream) -> list[str]:
    """Return the names of the columns, and leave `text` behind them."""
    start = text.look(_HEADER_BYTES)
    refuse_other_content(start)
    try:
        # The last character may be cut in two; if the header reaches so far, it is refused below.
        lines = io.StringIO(start.decode("utf-8", "surrogateescape"), newline="")
        taken: list[str] = []
        for names in csv.reader(_noted(lines, taken)):
            if any(names):
                break
        else:
            names = []
        header = "".join(taken).encode("utf-8", "surrogateescape")
        if len(header) == len(start) >= _HEADER_BYTES:
            raise csv.Error(f"no line ends within {_HEADER_BYTES >> 20} MiB")
        if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
            raise csv.Error("it is not UTF-8 text")
    except csv.Error as error:
        raise BrokenContentError(f"cannot be read (its header: {error})", "save it as CSV in UTF-8") from None
    text.skip(len(header))
    return [names[0].removeprefix("\ufeff"), *names[1:]] if names else []


def _noted(lines: io.StringIO, taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        # With a byte order mark before it a quote would be part of the name.
        yield line.removeprefix("\ufeff") if len(taken) == 1 else line
