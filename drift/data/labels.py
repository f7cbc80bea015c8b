"""Labels that arrive late: `event_id` and `label`, perhaps `part` and `row`, joined with the rows of the window."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from drift.data.columns import NotANumberError, to_numbers, to_texts
from drift.data.content import BrokenContentError, NotPlainError
from drift.data.csv_file import MISSING
from drift.data.table_file import TableFile, open_table
from drift.rows import Predictions, Rows, Schema, row_key

__all__ = ["Labels", "join", "read_labels"]

_REQUIRED: Final = ("event_id", "label")
#: Which part of an event, and which row of the part; 0 where a file has no such column, or nothing in it.
_PLACES: Final = ("part", "row")


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of the rows that were asked for.

    `keys` rise and `values` has for each its label, in the form of predictions. The counts are of rows of the file:
    all; those of rows that were not asked for; those that another row for the same key replaced, since the last one
    wins; those that have no label; and those of events with several rows that do not say which.
    """

    keys: NDArray[np.int64]
    values: Predictions
    total_rows: int
    unknown_rows: int
    repeated_rows: int
    empty_rows: int
    ambiguous_rows: int

    def __len__(self) -> int:
        return len(self.keys)

    def notes(self) -> tuple[str, ...]:
        """Return sentences about labels that are of no use."""
        found = []
        if self.ambiguous_rows:
            found.append(
                f"{self.ambiguous_rows} labels are of events with several rows and do not say of which; give the "
                "file a column row, from 0"
            )
        if self.unknown_rows and not len(self) and not self.ambiguous_rows:
            found.append(
                f"none of {self.total_rows} labels belongs to a row of the window; event_id must be that of the "
                "answer, not the request id"
            )
        return tuple(found)


def read_labels(location: str | Path, schema: Schema, keys: NDArray[np.int64]) -> Labels:
    """Read the labels of the rows with these keys; of others nothing is kept, so that memory is that of the window.

    `location` is a path, or a URI of file, s3, gs or az. Raises `DatasetError`, `UnsupportedLocationError`.
    """
    with open_table("Labels", location) as table:
        _check_columns(table.names)
        try:
            found = _find(table, schema, keys, careful=False)
        except NotPlainError:  # something is wrong: the slow way says what
            found = _find(table, schema, keys, careful=True)
        return found.labels(schema)


def join(rows: Rows, labels: Labels) -> Rows:
    """Return the rows with the labels as their targets; one that `labels` does not have keeps what it had."""
    if rows.keys is None or not len(labels):
        return rows
    number = rows.predictions.dtype != object
    if rows.targets is not None:
        targets = rows.targets.copy()
    else:
        targets = np.full(len(rows), np.nan if number else None, dtype=np.float64 if number else object)
    places = np.minimum(np.searchsorted(labels.keys, rows.keys), len(labels) - 1)
    known = labels.keys[places] == rows.keys
    targets[known] = labels.values[places[known]]
    return replace(rows, targets=targets)


@dataclass(slots=True)
class _Found:
    """Labels as texts by key, and the counts, while the file is read."""

    wanted: frozenset[int]
    missing: tuple[str, ...]
    #: Whether the file says of which row of an event a label is.
    has_rows: bool
    texts: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, event: str, part: int, row: int, text: str) -> None:
        key = row_key(event, part, row)
        if text in self.missing:
            self.counts["empty"] += 1
        elif key not in self.wanted:
            self.counts["unknown"] += 1
        elif not self.has_rows and row_key(event, part, 1) in self.wanted:
            self.counts["ambiguous"] += 1
        else:
            self.counts["repeated"] += key in self.texts
            self.texts[key] = text

    def labels(self, schema: Schema) -> Labels:
        keys = np.array(sorted(self.texts), dtype=np.int64)
        try:
            values = schema.predictions([self.texts[key] for key in keys.tolist()])
        except ValueError as error:
            reason = f"has a label that is no {schema.kind}, as the predictions are ({error})"
            raise BrokenContentError(reason, "correct it, or leave the cell empty") from None
        counts = (self.counts[name] for name in ("total", "unknown", "repeated", "empty", "ambiguous"))
        return Labels(keys, values, *counts)


def _check_columns(names: list[str]) -> None:
    if not names:
        raise BrokenContentError("is empty", "give a file with the columns event_id and label")
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        reason = f"must contain the column {' and the column '.join(missing)} (found {', '.join(names)})"
        raise BrokenContentError(reason, "event_id is that of the prediction event, label what was right")
    repeated = [name for name in (*_REQUIRED, *_PLACES) if names.count(name) > 1]
    if repeated:
        raise BrokenContentError(
            f"names {', '.join(repeated)} more than once", "give every column its own name"
        )


def _find(table: TableFile, schema: Schema, keys: NDArray[np.int64], *, careful: bool) -> _Found:
    missing = MISSING if schema.kind == "number" else ("",)
    found = _Found(frozenset(keys.tolist()), missing, "row" in table.names)
    places = [name for name in _PLACES if name in table.names]
    for batch in table.batches(places, _REQUIRED, careful=careful):
        try:
            for event, part, row, text in _placed(batch, places):
                found.add(event, part, row, text)
        except NotANumberError as error:
            place = found.counts["total"] + error.row + 1
            reason = f"cannot be read ({error.column} of row {place}: {error})"
            raise BrokenContentError(reason, "give whole numbers from 0") from None
        found.counts["total"] += batch.num_rows
    return found


def _placed(batch: pa.RecordBatch, places: Sequence[str]) -> Iterator[tuple[str, int, int, str]]:
    events, texts = (to_texts(batch.column(name)).to_pylist() for name in _REQUIRED)
    parts, rows = (
        _whole(batch.column(name), name) if name in places else [0] * batch.num_rows for name in _PLACES
    )
    return zip(events, parts, rows, texts, strict=True)


def _whole(column: pa.Array, name: str) -> list[int]:
    numbers = np.nan_to_num(to_numbers(column, name), posinf=-1, neginf=-1)
    wrong = np.flatnonzero((numbers < 0) | (numbers != np.floor(numbers)))
    if len(wrong):
        raise NotANumberError(name, int(wrong[0]), str(column[int(wrong[0])]))
    whole: list[int] = numbers.astype(np.int64).tolist()
    return whole
