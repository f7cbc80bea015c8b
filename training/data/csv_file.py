"""CSV files, also compressed, as Arrow tables: every text byte for byte as it stands in the file.

A date or a `true` is a text like any other, unless it is a feature that can be counted.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from training.configuration.sections import DatasetSection
from training.data.content import broken, first_line
from training.data.csv_header import read_header
from training.errors import DatasetError

__all__ = ["read_csv"]

_COMPRESSION: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}

_BLOCK_BYTES: Final = 1 << 20
_LONGEST_ROW: Final = 64 << 20
_WRONG_WIDTH: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def read_csv(
    path: Path, source: str, dataset: DatasetSection, texts: Collection[str] = ()
) -> tuple[pa.Table, frozenset[str]]:
    """Read `path` and tell which columns hold dates or times; errors call it `source`.

    The columns of `texts` are not taken for anything else. Raises `DatasetError`, and what Arrow raises for damaged
    content.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    compression = next((name for magic, name in _COMPRESSION.items() if start.startswith(magic)), None)
    names = read_header(path, source, dataset, compression)
    kinds = {name: pa.binary() for name in texts}  # bytes: text of another encoding is told with its row
    table = _parse(path, source, dataset, compression, kinds)
    temporal = frozenset(field.name for field in table.schema if pa.types.is_temporal(field.type))
    truth = {
        field.name
        for field in table.schema
        if pa.types.is_boolean(field.type) and field.name == dataset.target
    }
    if temporal or truth:  # what Arrow took for dates, times or truth is kept as it was written
        del table
        kinds |= dict.fromkeys(temporal | truth, pa.binary())
        table = _parse(path, source, dataset, compression, kinds)
    table = _decoded(table, source)
    if dataset.target in texts:
        table = _with_whole_labels(table, dataset.target)
    _refuse_open_quote(table, path, source, compression)
    pa.default_memory_pool().release_unused()
    return table.rename_columns(names), temporal


def _parse(
    path: Path, source: str, dataset: DatasetSection, compression: str | None, kinds: dict[str, pa.DataType]
) -> pa.Table:
    convert = arrow_csv.ConvertOptions(
        null_values=list(dataset.missing), strings_can_be_null=True, column_types=kinds
    )
    parse = arrow_csv.ParseOptions(delimiter=dataset.delimiter, newlines_in_values=True)
    # Quick first; what fails is read once more, slowly, because only then does Arrow take long rows, and count
    # those that it complains of.
    for options in (
        arrow_csv.ReadOptions(),
        arrow_csv.ReadOptions(use_threads=False, block_size=_LONGEST_ROW),
    ):
        with pa.input_stream(str(path), compression=compression) as stream:
            try:
                return arrow_csv.read_csv(stream, options, parse, convert)
            except pa.ArrowInvalid as error:
                found = error
    raise _explained(found, source) from found


def _explained(error: pa.ArrowInvalid, source: str) -> DatasetError:
    wrong = _WRONG_WIDTH.search(str(error))
    if wrong is not None:
        row, expected, fields = (int(number) for number in wrong.groups())
        reason = f"row {row - 1} has {fields} field{'s' * (fields != 1)} and the header has {expected}"
        remedy = "give every line as many fields as the header, those with a delimiter inside in quotes"
        return broken(source, reason, remedy)
    if "Empty CSV file" in str(error):  # of the header we know
        return broken(source, "it has a header and no rows", "write the rows below the header")
    if "straddling" in str(error):
        reason = f"a row is longer than {_LONGEST_ROW >> 20} MiB"
        return broken(source, reason, 'look for a quote (") that is opened and never closed')
    return broken(source, first_line(error), "write the file again")


def _decoded(table: pa.Table, source: str) -> pa.Table:
    """Return the table with texts in place of bytes."""
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            try:
                table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
            except pa.ArrowInvalid:
                _refuse_other_encodings(table, source)
                raise
    return table


def _with_whole_labels(table: pa.Table, target: str | None) -> pa.Table:
    """Return the table with numbers for labels when all are whole numbers written in the one shortest way."""
    if target not in table.column_names:
        return table
    texts = table.column(target)
    try:
        numbers = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return table
    if not pc.all(pc.equal(numbers.cast(pa.string()), texts), min_count=0).as_py():
        return table
    return table.set_column(table.column_names.index(target), target, numbers)


def _refuse_other_encodings(table: pa.Table, source: str) -> None:
    for field in table.schema:
        if not pa.types.is_binary(field.type):
            continue
        for row, value in enumerate(table.column(field.name), 1):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError:
                reason = f"row {row}, {field.name}: it is not UTF-8 text"
                raise broken(source, reason, "save it as CSV in UTF-8") from None


def _refuse_open_quote(table: pa.Table, path: Path, source: str, compression: str | None) -> None:
    """Refuse a quote that is never closed: all rows behind it would be one value of the last row."""
    last = table.slice(max(0, table.num_rows - 1)).to_pylist()
    if not any(isinstance(value, str) and "\n" in value for row in last for value in row.values()):
        return
    quotes = 0
    with pa.input_stream(str(path), compression=compression) as stream:
        while block := stream.read(_BLOCK_BYTES):
            quotes += block.count(b'"')
    if quotes % 2:
        reason = f'a quote (") that is opened in row {table.num_rows} is never closed'
        raise broken(source, reason, 'close it, or write it twice ("") where it belongs to the text')
