"""Standard output, written by one thread, so that no request ever waits for whoever reads it.

Log lines and prediction events go through the same queue: with a single writer whole lines cannot interleave.
A reader that stops reading costs lines, never an answer. `offer` tells its caller that an entry found no room,
and `EventLog` counts such prediction events; log lines that find none are lost without a count.
"""

import contextlib
import os
import threading
from collections import deque
from operator import attrgetter
from typing import Final, Protocol

__all__ = ["Entry", "LineWriter"]

#: Entries that may wait; at 3,000 requests a second five seconds of a reader that hangs.
MAX_ENTRIES: Final = 16_384
#: Numbers (of 4 or 8 bytes) that may wait inside entries: at most about 64 MB.
MAX_NUMBERS: Final = 8_000_000
#: How long entries gather before they are written together, unless one of them is urgent.
BATCH_SECONDS: Final = 0.05
#: Bytes gathered for one write.
_BATCH_BYTES: Final = 256 * 1024
#: Entries taken off the queue at one time.
_BATCH_ENTRIES: Final = 256
_numbers_of: Final = attrgetter("numbers")


class Entry(Protocol):
    """Something that becomes one or more lines when the writer comes to it."""

    #: How many numbers it keeps in memory until then.
    numbers: int

    def encode(self) -> bytes:
        """Return whole lines, each with its newline. Raises `ValueError` when that is impossible."""

    def settle(self, *, written: bool) -> None:
        """Learn what became of the lines."""


class _Text:
    """A log line."""

    numbers = 0

    def __init__(self, text: str) -> None:
        self._text = text

    def encode(self) -> bytes:
        return self._text.encode("utf-8", "backslashreplace")

    def settle(self, *, written: bool) -> None:
        pass


class LineWriter:
    """A bounded queue of entries and the thread that writes them to a file descriptor.

    It has `write` and `flush`, so it can be the stream of a logging handler. Before `start` and after `close`
    text is written at once.
    """

    def __init__(self, descriptor: int, *, max_entries: int = MAX_ENTRIES) -> None:
        self._descriptor = descriptor
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._queue: deque[Entry] = deque()
        self._numbers = 0
        self._wake = threading.Event()
        self._closing = False
        # A daemon, because a write to a pipe that nobody reads never returns.
        self._thread = threading.Thread(target=self._run, name="line-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def offer(self, entry: Entry) -> bool:
        """Queue `entry`, without waiting; return False when there is no room for it."""
        with self._lock:
            if len(self._queue) >= self._max_entries or self._numbers + entry.numbers > MAX_NUMBERS:
                return False
            self._queue.append(entry)
            self._numbers += entry.numbers
        return True

    def write(self, text: str) -> int:
        """Queue text that ends with a newline, to be written soon; without room for it, drop it."""
        entry = _Text(text)
        if self._thread.is_alive() and not self._closing:
            self.offer(entry)
            self._wake.set()
        else:
            self._write([entry])
        return len(text)

    def flush(self) -> None:
        """Do nothing: waiting here would let a slow reader hold up whoever logs."""

    def isatty(self) -> bool:
        """Tell whether a person reads along."""
        return os.isatty(self._descriptor)

    def close(self, timeout_seconds: float) -> bool:
        """Write everything that waits; return whether that came to an end in time."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(BATCH_SECONDS)
            self._wake.clear()
            self._write_queued()
        self._write_queued()

    def _write_queued(self) -> None:
        while self._queue:
            # Without the lock, for which requests would wait: nobody else takes entries off.
            entries = [self._queue.popleft() for _ in range(min(_BATCH_ENTRIES, len(self._queue)))]
            numbers = sum(map(_numbers_of, entries))
            with self._lock:
                self._numbers -= numbers
            self._write(entries)

    def _write(self, entries: list[Entry]) -> None:
        batch: list[Entry] = []
        data = bytearray()
        for entry in entries:
            try:
                data += entry.encode()
            except (TypeError, ValueError):
                entry.settle(written=False)
                continue
            batch.append(entry)
            if len(data) > _BATCH_BYTES:
                self._write_bytes(batch, data)
                batch, data = [], bytearray()
        self._write_bytes(batch, data)

    def _write_bytes(self, entries: list[Entry], data: bytearray) -> None:
        written = False
        with contextlib.suppress(OSError):  # closed by its reader; there is nowhere left to say so
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            written = True
        for entry in entries:
            entry.settle(written=written)
