"""Rows as people type them: numbers with commas, or a CSV file whose header names the features."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import UsageError

__all__ = ["NamedRows", "read_csv", "read_rows"]


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows of one length; `names` is empty for the model's own order, `places` says where each row stood."""

    names: tuple[str, ...]
    numbers: list[list[float]]
    places: list[str]

    def column(self, index: int) -> str:
        """Return what people call a column: its name, else its number from 1."""
        return self.names[index] if index < len(self.names) else str(index + 1)


def read_rows(texts: Sequence[str]) -> NamedRows:
    """Read rows such as `5.1,3.5,1.4,0.2`. Raises `UsageError`."""
    places = [f"row {number}" for number in range(1, len(texts) + 1)]
    cells = [(place, text.split(",")) for place, text in zip(places, texts, strict=True)]
    return _table((), cells, "one row is numbers with commas, such as --row 5.1,3.5,1.4,0.2")


def read_csv(name: str) -> NamedRows:
    """Read a CSV file, or standard input for -; a first line with text in it names the columns.

    Raises `UsageError`.
    """
    shown = "standard input" if name == "-" else name
    try:
        if name == "-":
            lines = list(_lines(sys.stdin))
        else:
            with Path(name).open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
                lines = list(_lines(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown} cannot be read: {error}") from None
    header: tuple[str, ...] = ()
    if lines and not any(map(_is_number, lines[0][1])):
        header = tuple(cell.strip() for cell in lines.pop(0)[1])
    if not lines:
        raise UsageError(f"{shown} has no rows: expected a line of feature names and lines of numbers")
    return _table(
        header, lines, f"{shown} must be a CSV of numbers, with the feature names in its first line"
    )


def _lines(file: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(file)
    for cells in reader:
        if cells:
            yield f"line {reader.line_num}", cells


def _table(names: tuple[str, ...], lines: Sequence[tuple[str, list[str]]], expected: str) -> NamedRows:
    width, first = (len(names), "the header") if names else (len(lines[0][1]), lines[0][0])
    rows = NamedRows(names, [], [place for place, _ in lines])
    for place, cells in lines:
        if len(cells) != width:
            raise UsageError(f"{place} has {len(cells)} values and {first} has {width}; {expected}")
        for index, cell in enumerate(cells):
            if not _is_number(cell):
                found = repr(cell.strip()[:64]) if cell.strip() else "nothing"
                raise UsageError(
                    f"{place}, column {rows.column(index)}: found {found}, expected a number; {expected}"
                )
        rows.numbers.append([float(cell) for cell in cells])
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
