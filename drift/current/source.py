"""Where current rows come from, behind one small interface."""

from collections import Counter
from pathlib import Path
from typing import Protocol

from drift.current.prediction_event import SkipReason
from drift.current.prediction_log import PredictionLog
from drift.data.location import local_path
from drift.data.table import read_current
from drift.rows import Rows, Schema
from drift.settings import Settings

__all__ = ["CsvFile", "CurrentSource", "open_source"]


class CurrentSource(Protocol):
    """Something that current rows are read from, again and again, by one thread at a time."""

    def read(self, now: float) -> Rows | None:
        """Return the window that ends at `now` (seconds since 1970), None when it is empty.

        Raises `DriftError` when the source cannot be read; a later call may succeed.
        """

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""

    @property
    def rows_missing(self) -> int | None:
        """How many rows of the last window the source has and could not give, None where nothing tells."""


class CsvFile:
    """A CSV file of the shape of the reference, read anew each time. It has no times: all rows count."""

    def __init__(self, path: Path, schema: Schema, *, max_rows: int) -> None:
        self._path, self._schema, self._max_rows = path, schema, max_rows

    def read(self, now: float) -> Rows | None:  # noqa: ARG002 - a source with times needs it
        """Return the rows of the file, sampled when there are many. Raises `DatasetError`."""
        return read_current(self._path, self._schema, self._max_rows)

    def take_skipped(self) -> Counter[SkipReason]:
        """Return nothing: a CSV is taken as a whole or refused."""
        return Counter()

    @property
    def rows_missing(self) -> int | None:
        """Nothing: all rows of a file are there."""
        return 0


def open_source(settings: Settings, schema: Schema) -> CurrentSource:
    """Return the source that `CURRENT_DATASET_URI` names; it need not exist yet."""
    assert settings.current_dataset_uri is not None
    path = local_path(settings.current_dataset_uri)
    if path.suffix.lower() == ".csv":
        return CsvFile(path, schema, max_rows=settings.drift_max_rows)
    return PredictionLog(
        path,
        schema,
        range_seconds=settings.current_range_minutes * 60,
        max_rows=settings.drift_max_rows,
        track=settings.current_track,
    )
