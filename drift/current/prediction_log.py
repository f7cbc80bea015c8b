"""The prediction log as a source of current rows: read as it grows, never twice.

A log is one file, or the `*.log` files of a directory. Each read takes only the bytes that came since the
last one and puts their rows into a sliding window.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from drift.current.prediction_event import PredictedRows, SkipReason, parse_line
from drift.current.window import Window
from drift.data.table import SAMPLE_SEED
from drift.errors import PredictionLogError
from drift.rows import Rows, Schema

__all__ = ["MAX_LINE_BYTES", "LogTail", "PredictionLog"]

#: Servers keep event lines under 12 KiB; what is longer than this is cut, and so no longer JSON.
MAX_LINE_BYTES: Final = 1 << 20
#: Events remembered to drop duplicates, about 100 MB at most; beyond it the oldest are forgotten.
MAX_REMEMBERED_EVENTS: Final = 1_000_000
#: First bytes of a file that tell it from its successor: the first line begins with a time.
_HEAD_BYTES: Final = 256

log = structlog.stdlib.get_logger("drift")


class LogTail:
    """The lines that a growing file gained since they were last taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._identity: tuple[int, int] | None = None
        self._head = b""
        self.modified = 0.0

    def lines(self) -> Iterator[bytes]:
        """Yield each new complete line, cut at `MAX_LINE_BYTES`; a line still being written waits.

        A file that was truncated or replaced is read from its start; since a new file may get the inode of
        the old one, its first bytes must be the same too. Raises `OSError`.
        """
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            head = file.read(_HEAD_BYTES)
            same = identity == self._identity and head.startswith(self._head)
            if not same or status.st_size < self._offset:
                self._offset = 0
            self._identity, self._head = identity, head
            self.modified = status.st_mtime
            file.seek(self._offset)
            # Up to the size at the start: a writer faster than us must not keep us here.
            while self._offset < status.st_size:
                line = file.readline(MAX_LINE_BYTES)
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
                if not rest:
                    return
                self._offset = file.tell()
                yield line


class PredictionLog:
    """Rows of the prediction events of the last `range_seconds`, at most `max_rows` of them."""

    def __init__(
        self, path: Path, schema: Schema, *, range_seconds: float, max_rows: int, track: str | None = None
    ) -> None:
        self._path, self._schema, self._track = path, schema, track
        self._range_seconds = range_seconds
        self._window = Window(max_rows, range_seconds, SAMPLE_SEED)
        self._tails: dict[Path, LogTail] = {}
        self._seen: dict[int, float] = {}
        self._skipped: Counter[SkipReason] = Counter()

    def read(self, now: float) -> Rows | None:
        """Take in what was logged since the last call; return the window that ends at `now`.

        Raises `PredictionLogError` when a file cannot be read; what was read before it is kept.
        """
        try:
            paths = self._files()
            self._tails = {path: self._tails.get(path) or LogTail(path) for path in paths}
            for path, tail in self._tails.items():
                self._read_file(path, tail, now)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PredictionLogError(str(error.filename or self._path), reason.lower()) from None
        self._forget(now - self._range_seconds)
        return self._window.sample(now)

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""
        skipped, self._skipped = self._skipped, Counter()
        return skipped

    @property
    def rows_missing(self) -> int | None:
        """None: a log does not tell what was never written to it."""
        return None

    def _files(self) -> list[Path]:
        if self._path.is_dir():
            return sorted(path for path in self._path.glob("*.log") if path.is_file())
        return [self._path]

    def _read_file(self, path: Path, tail: LogTail, now: float) -> None:
        not_json, example = 0, b""
        for line in tail.lines():
            found = parse_line(line, self._schema, self._track) if line.strip() else None
            if isinstance(found, PredictedRows):
                found = self._take(found, tail.modified, now)
            if found is SkipReason.NOT_JSON:
                not_json, example = not_json + 1, example or line
            if found is not None:
                self._skipped[found] += 1
        if not_json:  # one line a file and read, however many were found
            log.warning(
                "Skipping non-JSON log line",
                file=str(path),
                lines=not_json,
                example=example[:200].decode("utf-8", "replace").rstrip(),
            )

    def _take(self, rows: PredictedRows, modified: float, now: float) -> SkipReason | None:
        # A line without a time is no younger than its file; a clock ahead of ours must not keep rows forever.
        timestamp = min(now, modified if rows.timestamp is None else rows.timestamp)
        if timestamp < now - self._range_seconds:
            return SkipReason.OUTSIDE_WINDOW
        key = hash((rows.event_id, rows.part))
        if key in self._seen:
            return SkipReason.DUPLICATE
        self._seen[key] = timestamp
        if len(self._seen) > MAX_REMEMBERED_EVENTS:
            del self._seen[next(iter(self._seen))]
        self._window.add(np.full(len(rows.features), timestamp), Rows(rows.features, rows.predictions))
        return None

    def _forget(self, before: float) -> None:
        if any(timestamp < before for timestamp in self._seen.values()):
            self._seen = {key: timestamp for key, timestamp in self._seen.items() if timestamp >= before}
