"""From the standard output of a worker to ours: whole lines only, and as slowly as ours is read.

When our queue is full the pipe is not read. Then the queue of the worker fills, and the worker counts what it
drops, as a server alone would; no request waits for any of it.
"""

import os
import threading
import time
from typing import Final

from inference.lines import LineWriter

__all__ = ["Forwarder"]

#: What a pipe of Linux holds.
_BLOCK_BYTES: Final = 1 << 16
#: How long to wait for room in our queue before asking again; its thread writes as often.
_PAUSE_SECONDS: Final = 0.05
#: `LineWriter` counts memory in numbers of eight bytes.
_NUMBER_BYTES: Final = 8


class _Lines:
    """Whole lines of a worker, in the queue of our writer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.numbers = len(data) // _NUMBER_BYTES

    def encode(self) -> bytes:
        return self._data

    def settle(self, *, written: bool) -> None:
        pass


class Forwarder:
    """Reads one pipe to its end, in a thread of its own. A worker that was killed may leave half a line."""

    def __init__(self, descriptor: int, writer: LineWriter) -> None:
        self._descriptor = descriptor
        self._writer = writer
        self._cut = False
        self._thread = threading.Thread(target=self._run, name="worker-lines", daemon=True)
        self._thread.start()

    def end(self, timeout_seconds: float) -> bool:
        """Wait until everything is forwarded, or the time is over; return whether half a line was dropped."""
        self._thread.join(timeout_seconds)
        return self._cut

    def _run(self) -> None:
        rest = b""
        with os.fdopen(self._descriptor, "rb", buffering=0) as pipe:
            while block := pipe.read(_BLOCK_BYTES):
                whole, newline, after = block.rpartition(b"\n")
                if not newline:
                    rest += block
                    continue
                self._offer(_Lines(rest + whole + newline))
                rest = after
        self._cut = bool(rest)

    def _offer(self, lines: _Lines) -> None:
        while not self._writer.offer(lines):
            time.sleep(_PAUSE_SECONDS)
