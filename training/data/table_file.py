"""Files of rows as tables: CSV and Parquet, both read by Arrow. Numbers become int64 or float64, other things text."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from training.configuration.sections import DatasetSection
from training.data.content import broken, first_line, refuse_control, refuse_repeated
from training.data.csv_file import read_csv
from training.errors import DatasetError, ExitCode
from training.storage import describe

__all__ = ["FoundTable", "read_table"]

_PARQUET_ENDINGS: Final = (".parquet", ".pq")
_PARQUET_MAGIC: Final = b"PAR1"

#: Columns that pandas writes for an index; they are no data.
_INDEX_COLUMN: Final = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class FoundTable:
    """What stands in a file; `temporal` names the columns of dates and times, in CSV kept as texts."""

    frame: pd.DataFrame
    temporal: frozenset[str]


def read_table(
    path: Path,
    source: str,
    dataset: DatasetSection,
    wanted: Sequence[str] | None,
    texts: Collection[str] = (),
) -> FoundTable:
    """Read `path`; errors call it `source`. `wanted` names the columns that matter, None stands for all.

    In CSV the columns of `texts` stay byte for byte as they are written.
    Raises `DatasetError` with what is wrong with the file and what to do.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        if not start:
            raise broken(source, "the file is empty", "give it a header line and rows")
        named = dataset.format or ("parquet" if source.lower().endswith(_PARQUET_ENDINGS) else "csv")
        if named == "parquet":
            table = _read_parquet(path, source, wanted)
            temporal = frozenset(field.name for field in table.schema if pa.types.is_temporal(field.type))
            refuse_control(table.column_names, source, wanted)
            return FoundTable(_frame(table), temporal)
        if start == _PARQUET_MAGIC:
            remedy = 'set [dataset] format = "parquet", or let its name end with .parquet'
            raise broken(source, "it is a Parquet file and is read as CSV", remedy)
        table, temporal = read_csv(path, source, dataset, texts)
        refuse_control(table.column_names, source, wanted)
        return FoundTable(_frame(table), temporal)
    except pa.ArrowException as error:
        raise broken(source, first_line(error), "write the file again") from error
    except OSError as error:
        if error.errno is not None:
            code, remedy = ExitCode.INFRASTRUCTURE, "check that this user may read it"
            raise DatasetError(source, describe(error), remedy, exit_code=code) from error
        reason = f"its content is damaged or cut off ({first_line(error)})"
        raise broken(source, reason, "write or fetch it again") from error


def _read_parquet(path: Path, source: str, wanted: Sequence[str] | None) -> pa.Table:
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)  # where there are any
    except pa.ArrowException as error:
        reason = "it is not a Parquet file, or only a part of one"
        raise broken(source, reason, "write or fetch it again") from error
    names = [name for name in file.schema_arrow.names if not _INDEX_COLUMN.fullmatch(name)]
    refuse_repeated(names, source)
    table = file.read([name for name in names if wanted is None or name in wanted])
    for place, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
            kind = pa.float64()
        if pa.types.is_date(kind):
            kind = pa.timestamp("ms")
        if kind != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return the table as a DataFrame, each column given free as soon as it is converted."""
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):  # nothing but missing values
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    del table
    pa.default_memory_pool().release_unused()  # reading takes several times what the table does
    return frame
