"""Rows as people type them: values with commas, or a CSV file whose header names the features.

Which of them are numbers is only known from the model: the text `1` may be a category.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_CATEGORY, Feature
from rollout.errors import UsageError

__all__ = ["Cell", "NamedRows", "read_csv", "read_rows"]

#: A number, the text of a category, or None for what is missing.
Cell: TypeAlias = float | str | None


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows of one length, as they were typed.

    `names` is empty for the model's own order, `places` says where each row stood, `expected` what they should be.
    """

    names: tuple[str, ...]
    texts: list[list[str]]
    places: list[str]
    expected: str

    def column(self, index: int) -> str:
        """Return what people call a column: its name, else its number from 1."""
        return self.names[index] if index < len(self.names) else str(index + 1)

    def cells(self, features: Sequence[Feature]) -> list[list[Cell]]:
        """Return the rows as `features` of the model take them. Raises `UsageError` where a number is none."""
        by_name = {feature.name: feature for feature in features}
        known = [by_name.get(name) for name in self.names] if self.names else [*features]
        width = len(self.texts[0])
        kinds = [*known[:width], *[None] * (width - len(known))]  # what does not fit is for the server to say
        return [
            [self._cell(place, index, text, kinds[index]) for index, text in enumerate(row)]
            for place, row in zip(self.places, self.texts, strict=True)
        ]

    def _cell(self, place: str, index: int, text: str, feature: Feature | None) -> Cell:
        if feature is None:
            return float(text) if _is_number(text) else text
        if feature.nullable and not text.strip() and text not in feature.categories:
            return None
        if feature.type == FEATURE_TYPE_CATEGORY:
            return text
        if _is_number(text):
            return float(text)
        found = repr(text.strip()[:64]) if text.strip() else "nothing"
        where = f"{place}, column {self.column(index)}"
        raise UsageError(f"{where}: found {found}, expected a number; {self.expected}")


def read_rows(texts: Sequence[str]) -> NamedRows:
    """Read rows such as `5.1,3.5,1.4,0.2`. Raises `UsageError`."""
    places = [f"row {number}" for number in range(1, len(texts) + 1)]
    cells = [(place, text.split(",")) for place, text in zip(places, texts, strict=True)]
    return _table((), cells, "one row is values with commas, such as --row 5.1,3.5,1.4,0.2")


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
        raise UsageError(f"{shown} has no rows: expected a line of feature names and lines of values")
    return _table(header, lines, f"{shown} must be a CSV with the feature names in its first line")


def _lines(file: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(file)
    for cells in reader:
        if cells:
            yield f"line {reader.line_num}", cells


def _table(names: tuple[str, ...], lines: Sequence[tuple[str, list[str]]], expected: str) -> NamedRows:
    width, first = (len(names), "the header") if names else (len(lines[0][1]), lines[0][0])
    for place, cells in lines:
        if len(cells) != width:
            raise UsageError(f"{place} has {len(cells)} values and {first} has {width}; {expected}")
    return NamedRows(names, [cells for _, cells in lines], [place for place, _ in lines], expected)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
