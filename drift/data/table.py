"""Reference and current datasets: columns `feature_0…N`, `prediction`, and perhaps `target` and `confidence`."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from drift.data.columns import NotANumberError
from drift.data.content import BrokenContentError, NotPlainError
from drift.data.feature_columns import find_categories, find_features
from drift.data.location import parse_location
from drift.data.objects import read_stamp
from drift.data.row_columns import RowColumns, finish
from drift.data.sample import Sample
from drift.data.table_file import TableFile, dataset_error, open_table
from drift.errors import UnreadableObjectError
from drift.rows import SAMPLE_SEED, Reference, Rows, Schema, infer_kind

__all__ = ["ReferenceDataset", "read_current", "read_reference"]


def read_reference(location: str | Path, max_rows: int) -> Reference:
    """Read the reference, at most `max_rows` sampled rows of it.

    `location` is a path, or a URI of file, s3, gs or az. Raises `DatasetError`, `UnsupportedLocationError`.
    """
    with open_table("Reference", location) as table:
        return _reference(table, max_rows)


def read_current(location: str | Path, schema: Schema, max_rows: int) -> Rows | None:
    """Read current rows of the shape of the reference, None when there are none.

    Raises `DatasetError`, `UnsupportedLocationError`.
    """
    with open_table("Current", location) as table:
        return _current(table, schema, max_rows)


class ReferenceDataset:
    """The reference, which can be read again once it has changed."""

    def __init__(self, location: str | Path, max_rows: int) -> None:
        self._location, self._max_rows = location, max_rows
        self._read: str | None = None
        self._accepted: str | None = None

    def read(self) -> Reference:
        """Read it. Raises `DatasetError`, `UnsupportedLocationError`."""
        with open_table("Reference", self._location) as table:
            reference = _reference(table, self._max_rows)
            self._read = table.stamp
            return reference

    def accept(self) -> None:
        """Take note that what was read last is in use; until then it has changed."""
        self._accepted = self._read

    def changed(self) -> bool:
        """Return whether it is another one than was accepted, which costs one small request.

        Raises `DatasetError`, when it cannot be told, `UnsupportedLocationError`.
        """
        try:
            return read_stamp(parse_location(str(self._location))) != self._accepted
        except UnreadableObjectError as error:
            raise dataset_error("Reference", error) from error


def _reference(table: TableFile, max_rows: int) -> Reference:
    names = find_features(table.names)
    found = Schema(names, "label")
    try:
        reading = _read(table, found, max_rows, careful=False)
    except NotPlainError:  # not only numbers, or something is wrong
        found = replace(found, categories=find_categories(table, names))
        reading = _read(table, found, max_rows, careful=True)
    if reading.rows is None:
        raise BrokenContentError("is empty", "give a file with rows: reference.csv of a bundle")
    schema = replace(found, kind=infer_kind(reading.rows.predictions.tolist()))
    return Reference(schema, finish(reading.rows, schema), reading.total_rows)


def _current(table: TableFile, schema: Schema, max_rows: int) -> Rows | None:
    names = find_features(table.names)
    if names != schema.feature_names:
        reason = f"has {len(names)} feature columns where the reference has {len(schema.feature_names)}"
        raise BrokenContentError(reason, "compare it with the reference of the same model")
    try:
        rows = _read(table, schema, max_rows, careful=False).rows
    except NotPlainError:
        rows = _read(table, schema, max_rows, careful=True).rows
    return None if rows is None else finish(rows, schema)


class _Reading(NamedTuple):
    rows: Rows | None
    total_rows: int


def _read(table: TableFile, schema: Schema, max_rows: int, *, careful: bool) -> _Reading:
    """Return the rows as they are written. Raises `BrokenContentError`, or without care `NotPlainError`."""
    sample, columns = Sample(max_rows, SAMPLE_SEED), RowColumns.of(table.names, schema)
    for batch in table.batches(columns.numbers, columns.texts, careful=careful):
        before = sample.total_rows
        try:
            sample.add(columns.read(batch, sample.draw(batch.num_rows)))
        except NotANumberError as error:
            if not careful:
                raise NotPlainError from None
            reason = f"cannot be read ({error.column} of row {before + error.row + 1}: {error})"
            raise BrokenContentError(reason, "give numbers, or nothing where one is missing") from None
    return _Reading(sample.rows(), sample.total_rows)
