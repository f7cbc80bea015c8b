"""Rows of cells (numbers, texts, null) to the numbers that a model takes.

Good columns pay for one look-up a text; only when something is wrong each cell is looked at for its place.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.errors import Violation
from inference.kinds import Kind
from inference.rows import MAX_VIOLATIONS, Decoded, quoted

__all__ = ["decode_cells"]

_TEXTS: Final = frozenset({str, NoneType})
_NUMBERS: Final = frozenset({int, float})
_NUMBERS_OR_NONE: Final = _NUMBERS | {NoneType}


def decode_cells(
    rows: Sequence[Sequence[Any]], kinds: Sequence[Kind | None], place: Callable[[int, int], str]
) -> Decoded:
    """Decode rows of cells, one a kind; a column of no kind takes anything and counts for nothing."""
    if set(map(len, rows)) <= {len(kinds)}:
        columns = [_column(kind, cells) for kind, cells in zip(kinds, zip(*rows, strict=True), strict=True)]
        found = [column for column in columns if column is not None]
        if len(found) == len(kinds):
            return Decoded(np.stack(found, axis=1))
    numbers = np.zeros((len(rows), len(kinds)))
    return Decoded(numbers, [*islice(_violations(rows, kinds, place, numbers), MAX_VIOLATIONS)])


def _column(kind: Kind | None, cells: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return the numbers of a column, or None when something in it has none."""
    if kind is None:
        return None
    types = set(map(type, cells))
    if kind.is_category:
        codes = [*map(kind.code_of, cells)] if types <= _TEXTS else [None]
        return None if None in codes else np.array(codes)
    if types <= _NUMBERS:
        return np.fromiter(cells, np.float64, len(cells))
    if kind.nullable and types <= _NUMBERS_OR_NONE:
        return np.array(cells, np.float64)  # None becomes nan
    return None


def _violations(
    rows: Sequence[Sequence[Any]],
    kinds: Sequence[Kind | None],
    place: Callable[[int, int], str],
    numbers: NDArray[np.float64],
) -> Iterator[Violation]:
    """Say what is wrong, row by row, and put what is right into `numbers`."""
    for index, row in enumerate(rows):
        if len(row) != len(kinds):
            yield Violation(f"rows[{index}]", f"found {len(row)} values, expected {len(kinds)}")
            continue
        for column, (kind, cell) in enumerate(zip(kinds, row, strict=True)):
            if kind is None:
                continue
            number = _number(kind, cell)
            if number is None:
                yield Violation(place(index, column), f"found {quoted(cell)}, {kind.expected}")
            else:
                numbers[index, column] = number


def _number(kind: Kind, cell: object) -> float | None:
    if kind.is_category and isinstance(cell, str):
        return kind.code_of(cell)
    # In binary messages a missing value may be nan too; in JSON it is null.
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return math.nan if kind.nullable else None
    return float(cell) if not kind.is_category and type(cell) in _NUMBERS else None  # type: ignore[arg-type]
