"""CSV files, also compressed, as Arrow tables: every text byte for byte as it stands in the file.

A date or a `true` is a text like any other, unless it is a feature that can be counted.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import csv as arrow_csv

from training.configuration.config import DatasetSection
from training.errors import DatasetError, ExitCode

__all__ = ["broken", "first_line", "read_csv", "refuse_repeated"]

_COMPRESSION: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
#: What bytes that are no UTF-8 become.
_REPLACED: Final = "\ufffd"
_DELIMITERS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}

#: The header line is looked for in so much of the file.
_HEADER_BYTES: Final = 1 << 20
_LONGEST_ROW: Final = 64 << 20
_WRONG_WIDTH: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def read_csv(path: Path, source: str, dataset: DatasetSection) -> pa.Table:
    """Read `path`; errors call it `source`. Raises `DatasetError`, and what Arrow raises for damaged content."""
    with path.open("rb") as stream:
        start = stream.read(4)
    compression = next((name for magic, name in _COMPRESSION.items() if start.startswith(magic)), None)
    names = _header(path, source, dataset, compression)
    table = _parse(path, source, dataset, compression, {})
    texts = {
        field.name: pa.string()
        for field in table.schema
        if pa.types.is_temporal(field.type)
        or (pa.types.is_boolean(field.type) and field.name == dataset.target)
    }
    if texts:  # what Arrow took for dates, times or truth is kept as it was written
        del table
        table = _parse(path, source, dataset, compression, texts)
    _refuse_other_encodings(table, source)
    _refuse_open_quote(table, path, source, compression)
    pa.default_memory_pool().release_unused()
    return table.rename_columns(names)


def _header(path: Path, source: str, dataset: DatasetSection, compression: str | None) -> list[str]:
    """Return the names in the header line; refuse one that another delimiter would divide."""
    with pa.input_stream(str(path), compression=compression) as stream:
        start = stream.read(_HEADER_BYTES)
    if start.startswith(_UTF16):
        raise broken(source, "it is not UTF-8 text but UTF-16", "save it as CSV in UTF-8")
    line = start[: start.rfind(b"\n")] if b"\n" in start else start
    text = line.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    if not text.strip():
        raise broken(source, "the file is empty", "give it a header line and rows")
    try:
        names = _fields(text, dataset.delimiter)
    except csv.Error as error:
        raise broken(source, f"its header cannot be read: {error}", "write the file again") from error
    if any(_REPLACED in name for name in names):
        raise broken(source, "its header is not UTF-8 text", "save it as CSV in UTF-8")
    _refuse_wrong_delimiter(names, text, source, dataset)
    refuse_repeated(names, source)
    if "" in names and dataset.features is None:
        reason = f"column {names.index('') + 1} has no name in the header"
        remedy = "name it, or leave the column out (pandas writes one unless index=False), or name [dataset] features"
        raise broken(source, reason, remedy)
    return names


def _fields(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _refuse_wrong_delimiter(names: list[str], text: str, source: str, dataset: DatasetSection) -> None:
    if len(names) > 1 and (dataset.target is None or dataset.target in names):
        return
    others = {found: _fields(text, found) for found in _DELIMITERS if found != dataset.delimiter}
    best = max(others, key=lambda found: (dataset.target in others[found], len(others[found])))
    if len(others[best]) > 1 and (len(names) == 1 or dataset.target in others[best]):
        shown = _DELIMITERS.get(dataset.delimiter, repr(dataset.delimiter))
        columns = "column" if len(names) == 1 else "columns"
        reason = (
            f"between its fields stands {_DELIMITERS[best]}: divided by {shown} its header has {len(names)} "
            f"{columns}, divided by {_DELIMITERS[best]} it has {len(others[best])}"
        )
        toml = best.replace("\t", r"\t")
        raise broken(source, reason, f'set [dataset] delimiter = "{toml}"')


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
    if "straddling" in str(error):
        reason = f"a row is longer than {_LONGEST_ROW >> 20} MiB"
        return broken(source, reason, 'look for a quote (") that is opened and never closed')
    return broken(source, first_line(error), "write the file again")


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
        while block := stream.read(_HEADER_BYTES):
            quotes += block.count(b'"')
    if quotes % 2:
        reason = f'a quote (") that is opened in row {table.num_rows} is never closed'
        raise broken(source, reason, 'close it, or write it twice ("") where it belongs to the text')


def refuse_repeated(names: Sequence[str], source: str) -> None:
    """Raise `DatasetError` when two columns have one name."""
    repeated = sorted({name for name in names if name and list(names).count(name) > 1})
    if repeated:
        reason = f"the header names {', '.join(repeated)} more than once"
        raise broken(source, reason, "give every column a name of its own")


def first_line(error: BaseException) -> str:
    """Return what Arrow says of a file, without what it says of itself."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def broken(source: str, reason: str, remedy: str) -> DatasetError:
    """Return the error of a file whose content is no table."""
    return DatasetError(source, reason, remedy, exit_code=ExitCode.CONTRACT)
