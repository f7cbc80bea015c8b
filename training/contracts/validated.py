"""A table that satisfies its contract, and what it becomes on a disk."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import is_datetime64_any_dtype, is_integer_dtype, is_numeric_dtype
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from training.data.columns import Column
from training.storage import staged_file

__all__ = ["ValidatedTable"]

#: Whole numbers up to here are exact in float64, and int64 writes them alike.
_MOST_EXACT: Final = float(2**53)


@dataclass(frozen=True)
class ValidatedTable:
    """A table that satisfies its contract.

    `columns` describes the features in the order of a row. `frame` has them first, then the columns of the
    split that are no features, then the target. Numbers are int64 or float64 (with NaN for what is missing),
    categories are text, a label is a whole number or text, a time is a number or a timestamp.
    """

    name: str
    source: str
    frame: pd.DataFrame
    target: str
    features: tuple[str, ...]
    columns: tuple[Column, ...] = ()

    @property
    def csv(self) -> bytes:
        """Canonical text: UTF-8, `\\n`, no index, shortest numbers that read back the same."""
        stream = io.BytesIO()
        self._write_csv(stream)
        return stream.getvalue()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, 64 lower-case hexadecimal digits: the same from CSV and from Parquet."""
        digest = hashlib.sha256()
        for name in self.frame.columns:
            values = self.frame[name]
            kind = "number" if is_numeric_dtype(values.dtype) else "text"
            kind = "integer" if is_integer_dtype(values.dtype) else kind
            digest.update(json.dumps([name, kind, len(values)]).encode())
            for part in _bytes_of(values, kind):
                digest.update(part)
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write the table to `path` atomically, as Parquet when its name says so. Raises `StorageError`."""
        with staged_file(path) as stream:
            if path.suffix == ".parquet":
                parquet.write_table(pa.Table.from_pandas(self.frame, preserve_index=False), stream)
            else:
                self._write_csv(stream)

    def _write_csv(self, stream: BinaryIO) -> None:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(self.frame.columns)
        table = pa.table(
            [_written(self.frame[name]) for name in self.frame.columns], names=_places(self.frame)
        )
        start = stream.tell()
        for style in (
            "none",
            "needed",
        ):  # Arrow quotes every text or none, and refuses none where one needs it
            stream.seek(start)
            stream.truncate()
            stream.write(header.getvalue().encode())
            try:
                options = arrow_csv.WriteOptions(include_header=False, quoting_style=style)
                arrow_csv.write_csv(table, stream, options)
            except pa.ArrowInvalid:
                continue
            return


def _places(frame: pd.DataFrame) -> list[str]:
    return [str(place) for place in range(len(frame.columns))]


def _written(values: pd.Series) -> pa.Array:
    """Return a column as it is written: whole floats keep a decimal point, so that they are read as floats."""
    if is_datetime64_any_dtype(values.dtype):
        return pa.array([None if pd.isna(one) else one.isoformat() for one in values], type=pa.string())
    array = pa.Array.from_pandas(values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_floating(array.type):
        numbers = values.to_numpy()
        present = numbers[~np.isnan(numbers)]
        if len(present) and (np.abs(present) < _MOST_EXACT).all() and (present == np.round(present)).all():
            whole = pc.cast(pc.cast(array, pa.int64()), pa.string())
            return pc.binary_join_element_wise(whole, "0", ".")
    return array


def _bytes_of(values: pd.Series, kind: str) -> list[memoryview]:
    """Return the content of a column as bytes, whatever it was read from."""
    if kind == "integer":
        return [values.to_numpy().astype("<i8").data]
    if kind == "number":
        numbers = values.to_numpy(dtype=np.float64)
        return [np.where(np.isnan(numbers), np.nan, numbers).astype("<f8", copy=False).data]
    texts = pa.Array.from_pandas(values.astype(str).where(values.notna(), None), type=pa.large_string())
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    lengths = pc.fill_null(pc.cast(pc.binary_length(texts), pa.int64()), -1)
    filled = pa.concat_arrays([pc.fill_null(texts, "")])
    offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)[filled.offset :][: len(filled) + 1]
    content = memoryview(filled.buffers()[2] or b"")[int(offsets[0]) : int(offsets[-1])]
    return [lengths.to_numpy(zero_copy_only=False).astype("<i8", copy=False).data, content]
