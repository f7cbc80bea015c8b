"""The prediction log as a source of current rows: read as it grows, never twice.

A log is one file, or the `*.log` files of a directory. Each read takes only the bytes that came since the
last one and puts their rows into a sliding window.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

from drift.current.event_filter import EventFilter, ServedModel, SkipReason
from drift.current.intake import Intake
from drift.current.log_tail import LogTail
from drift.errors import PredictionLogError
from drift.rows import Rows, Schema

__all__ = ["PredictionLog"]


class PredictionLog:
    """Rows of the prediction events of the last `range_seconds`, at most `max_rows` of them."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        *,
        range_seconds: float,
        max_rows: int,
        event_filter: EventFilter | None = None,
        labels: Iterable[object] = (),
    ) -> None:
        self._path = path
        self._intake = Intake(
            schema,
            event_filter or EventFilter(),
            range_seconds=range_seconds,
            max_rows=max_rows,
            labels=labels,
        )
        self._tails: dict[Path, LogTail] = {}

    def read(self, now: float) -> Rows | None:
        """Take in what was logged since the last call; return the window that ends at `now`.

        Raises `PredictionLogError` when a file cannot be read; what was read before it is kept.
        """
        try:
            files = self._files()
            self._read_moved(files, now)
            self._tails |= {path: LogTail(path) for path in files if path not in self._tails}
            for path in files:
                self._read_file(path, path, self._tails[path].lines(), now)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PredictionLogError(str(error.filename or self._path), reason.lower()) from None
        return self._intake.sample(now)

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """The models that answered the rows of the last window."""
        return self._intake.served

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""
        return self._intake.take_skipped()

    @property
    def rows_missing(self) -> int | None:
        """None: a log does not tell what was never written to it."""
        return None

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""

    def _files(self) -> list[Path]:
        if self._path.is_dir():
            return sorted(path for path in self._path.glob("*.log") if path.is_file())
        return [self._path]

    def _read_moved(self, files: list[Path], now: float) -> None:
        """Read on in files that rotation renamed before it made new ones; forget those that are gone."""
        for path in [path for path in self._tails if path not in files]:
            moved = self._tails[path].moved()
            if moved is None or moved in self._tails:
                del self._tails[path]
            elif moved in files:  # renamed to another log of the directory
                self._tails[moved] = self._tails.pop(path)
                self._tails[moved].follow(moved)
            else:
                self._read_file(path, moved, self._tails[path].rest(), now)

    def _read_file(self, path: Path, found: Path, lines: Iterator[bytes], now: float) -> None:
        # A line without a time is no younger than its file.
        modified = found.stat().st_mtime
        self._intake.take(zip(lines, repeat(modified), repeat(path)), now, origin=str(path))
