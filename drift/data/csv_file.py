"""CSV in parts, quickly when all is well, and slowly when something is not, to say what and where."""

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import csv as arrow_csv

from drift.data.content import BrokenContentError, NotPlainError, first_line
from drift.data.csv_stream import CsvStream, read_header

__all__ = ["MISSING", "CsvFile"]

#: What a missing number is written as. Only numbers know it: a class or category may be called NA or null.
MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "None", "null")

#: Arrow's own parts have 1 MiB, which costs 30 MiB of memory more and saves a twentieth of the time. The slow way
#: takes rows up to 8 MiB.
_QUICK_BYTES: Final = 256 << 10
_SLOW_BYTES: Final = 8 << 20

_WIDTH = re.compile(r"Expected (\d+) columns?, got (\d+)")
_ROW = re.compile(r"Row #(\d+)")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file that can be read again and again, plain or compressed by gzip."""

    stream: BinaryIO
    compressed: bool

    def names(self) -> list[str]:
        """Return the names in the header line, none when the file is empty. Raises `BrokenContentError`."""
        with self._text() as text:
            return read_header(text)

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], *, careful: bool
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches of the columns asked for, in any order.

        Those of `texts` are texts, nothing for what is missing. Those of `numbers` are numbers, texts if
        `careful`. Raises `BrokenContentError`, or without care `NotPlainError`, also for a number that is none.
        """
        with self._text() as text:
            names = read_header(text)
            options = _options(names, numbers, texts, careful=careful)
            try:
                with arrow_csv.open_csv(pa.PythonFile(text, "r"), **options) as reader:
                    yield from reader
            except pa.ArrowInvalid as error:
                if not _is_empty(error):
                    raise _explained(error) if careful else NotPlainError from None
            except UnicodeDecodeError:
                raise _explained(pa.ArrowInvalid("invalid UTF8 data")) from None
            odd_quotes = text.quotes % 2 == 1
        if odd_quotes:
            self._refuse_open_quote()

    def _text(self) -> CsvStream:
        self.stream.seek(0)
        return CsvStream(gzip.GzipFile(fileobj=self.stream, mode="rb") if self.compressed else self.stream)

    def _refuse_open_quote(self) -> None:
        """Refuse a quote that is never closed: all rows behind it would be one value of the last row."""
        with self._text() as text:
            try:
                for _ in csv.reader(
                    io.TextIOWrapper(io.BufferedReader(text), "utf-8", "replace", newline=""), strict=True
                ):
                    pass
            except csv.Error as error:
                if "unexpected end of data" in str(error) or "field larger" in str(error):
                    raise BrokenContentError(
                        'cannot be read (a quote, ", is opened and never closed)',
                        'close it, or write it twice ("") where it belongs to the text',
                    ) from None


def _options(
    names: list[str], numbers: Sequence[str], texts: Sequence[str], *, careful: bool
) -> dict[str, Any]:
    kinds = dict.fromkeys(numbers, pa.string() if careful else pa.float64()) | dict.fromkeys(
        texts, pa.string()
    )
    return {
        "read_options": arrow_csv.ReadOptions(
            # Only one thread counts the rows that it complains of.
            use_threads=not careful,
            block_size=_SLOW_BYTES if careful else _QUICK_BYTES,
            # Columns that nobody asks for may have any name, or the same.
            column_names=[name if name in kinds else f"{place} {name}" for place, name in enumerate(names)],
        ),
        "parse_options": arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=_skip_blank),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=list(kinds),
            column_types=kinds,
            null_values=list(MISSING),
            strings_can_be_null=False,
        ),
    }


def _skip_blank(row: arrow_csv.InvalidRow) -> str:
    return "error" if row.text.strip() else "skip"


def _is_empty(error: pa.ArrowInvalid) -> bool:
    return "Empty CSV file" in str(error)


def _explained(error: pa.ArrowInvalid) -> BrokenContentError:
    text, remedy = str(error), "write the file again"
    row = f"row {found.group(1)}" if (found := _ROW.search(text)) else "a row"
    if width := _WIDTH.search(text):
        reason = f"{row} has {width.group(2)} fields and the header has {width.group(1)}"
        remedy = "give every row as many as the header, those with a comma inside in quotes"
    elif "straddling" in text:
        reason = f"a row is longer than {_SLOW_BYTES >> 20} MiB"
        remedy = 'look for a quote (") that is opened and never closed'
    elif "UTF8" in text:
        reason, remedy = f"{row} is not UTF-8 text", "save it as CSV in UTF-8"
    else:
        reason = first_line(error)
    return BrokenContentError(f"cannot be read ({reason})", remedy)
