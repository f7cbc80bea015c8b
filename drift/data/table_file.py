"""Opens a dataset wherever it is stored, and in whatever format: the content tells, not the name."""

import contextlib
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

import pyarrow as pa

from drift.data.content import BrokenContentError, first_line
from drift.data.csv_file import CsvFile
from drift.data.location import parse_location
from drift.data.objects import open_object
from drift.errors import DatasetError, UnreadableObjectError
from drift.memory import give_back

__all__ = ["TableFile", "dataset_error", "open_table"]

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
#: A Parquet file is read from its end; one that gzip compressed is unpacked first, up to here in memory.
_IN_MEMORY_BYTES: Final = 16 << 20

#: The variable that names the dataset of a role.
_VARIABLES: Final = {
    "Reference": "REFERENCE_DATASET_URI",
    "Current": "CURRENT_DATASET_URI",
    "Labels": "LABELS_URI",
}


class _Content(Protocol):
    def names(self) -> list[str]: ...

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], *, careful: bool
    ) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True, slots=True)
class TableFile:
    """An open dataset: its columns, and its rows in parts, as often as needed. `stamp` is that of its bytes."""

    names: list[str]
    stamp: str
    _content: _Content

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str] = (), *, careful: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield Arrow's record batches of these columns, which `drift.data.columns` turns into values.

        Without care a CSV is read quickly, and one whose numbers are no numbers, or whose rows are odd, ends in
        `NotPlainError`; with care numbers come as texts, and what is wrong ends in `BrokenContentError`.
        """
        return self._content.batches(numbers, texts, careful=careful)


@contextlib.contextmanager
def open_table(role: str, location: str | Path) -> Iterator[TableFile]:
    """Yield a dataset. `role` is Reference, Current or Labels; whatever is wrong with it, then or in the block,
    is raised as `DatasetError`.
    """
    place = parse_location(os.fspath(location))
    try:
        with open_object(place) as opened, _content(opened.stream) as content:
            yield TableFile(content.names(), opened.stamp, content)
    except UnreadableObjectError as error:
        raise dataset_error(role, error) from error
    except BrokenContentError as error:
        raise DatasetError(role, str(place), error.reason, error.remedy) from None
    finally:
        give_back()


def dataset_error(role: str, error: UnreadableObjectError) -> DatasetError:
    """Return the error of the dataset of a role whose object cannot be read."""
    remedy = f"set {_VARIABLES[role]} to one that exists" if error.missing else error.remedy
    return DatasetError(role, error.location, error.reason, remedy)


@contextlib.contextmanager
def _content(stream: BinaryIO) -> Iterator[_Content]:
    start = stream.read(len(_PARQUET))
    stream.seek(0)
    if start == _PARQUET:
        yield _parquet(stream)
    elif start.startswith(_GZIP):
        with _unpacked(stream) as content:
            yield content
    else:
        yield CsvFile(stream, compressed=False)


@contextlib.contextmanager
def _unpacked(stream: BinaryIO) -> Iterator[_Content]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
        try:
            packed = gzip.GzipFile(fileobj=stream, mode="rb")
            is_parquet = packed.read(len(_PARQUET)) == _PARQUET
            if is_parquet:
                spool.write(_PARQUET)
                shutil.copyfileobj(packed, spool)
        except (EOFError, OSError, zlib.error) as error:
            raise BrokenContentError(
                f"cannot be read ({first_line(error)})", "write the file again"
            ) from None
        # A CSV is unpacked as it is read.
        yield _parquet(cast("BinaryIO", spool)) if is_parquet else CsvFile(stream, compressed=True)


def _parquet(stream: BinaryIO) -> _Content:
    from drift.data.parquet_file import ParquetFile  # noqa: PLC0415 - 10 MiB that few need

    return ParquetFile(stream)
