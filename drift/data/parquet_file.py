"""Parquet in parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet

from drift.data.columns import is_readable
from drift.data.content import BrokenContentError, first_line

__all__ = ["ParquetFile"]

_BATCH_ROWS: Final = 20_000
#: Pages are read as they are needed; without it Arrow takes a whole row group, which may be the whole file.
_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file that can be read again and again."""

    stream: BinaryIO

    def names(self) -> list[str]:
        """Return the names of the columns. Raises `BrokenContentError`."""
        return list(self._open().schema_arrow.names)

    def batches(
        self,
        numbers: Sequence[str],
        texts: Sequence[str],
        *,
        careful: bool,  # noqa: ARG002 - there is one way to read Parquet
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches of the columns asked for, in the types that they have. Raises `BrokenContentError`."""
        file = self._open()
        wanted = [*numbers, *texts]
        for name in wanted:
            kind = file.schema_arrow.field(name).type
            if not is_readable(kind):
                reason = f"cannot be read ({name} has the type {kind})"
                raise BrokenContentError(reason, "give numbers, texts or booleans")
        try:
            yield from file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from None

    def _open(self) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(self.stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from None


def _broken(error: Exception) -> BrokenContentError:
    return BrokenContentError(f"cannot be read (Parquet: {first_line(error)})", "write the file again")
