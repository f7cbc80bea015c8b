"""The rows of a request, in whatever form they came, decoded to one array."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.errors import Violation

if TYPE_CHECKING:
    from inference.kinds import Kind

__all__ = ["MAX_VIOLATIONS", "Decoded", "Numbers", "RowBlock", "decode_rows", "quoted"]

#: Violations reported for one request. They travel in trailing metadata, which clients limit to 8 KiB.
MAX_VIOLATIONS: Final = 20
#: Characters of a caller's own text that a sentence quotes.
_MAX_QUOTED: Final = 64

Numbers = NDArray[np.float64] | NDArray[np.float32]


class Decoded(NamedTuple):
    """Numbers (rows, columns), and the places that have none, where 0 stands instead."""

    numbers: Numbers
    violations: Sequence[Violation] = ()


class RowBlock(Protocol):
    """The rows of one request."""

    @property
    def row_count(self) -> int:
        """Number of rows, known without decoding them."""

    def decode(self, column_count: int, kinds: "Sequence[Kind | None]" = ()) -> Decoded:
        """Decode to (rows, column_count) and say where that is impossible.

        `kinds` says what each column takes, for a model that takes more than numbers: a text becomes its code,
        what is missing becomes nan. None is a column that is none of the model's.
        """

    def place(self, row: int, column: int) -> str:
        """Return the path of one number in the caller's own form, such as `rows[3].values[1]`."""


def decode_rows(
    rows: Sequence[Sequence[Any]], column_count: int, place: Callable[[int, int], str], *, typed: bool
) -> Decoded:
    """Decode rows that are sequences; `typed` says that they can have nothing but numbers in them."""
    sound = set(map(len, rows)) <= {column_count}
    if sound and not typed:
        sound = set(map(type, chain.from_iterable(rows))) <= {int, float}
    violations: list[Violation] = []
    if not sound:
        violations = list(islice(_violations(rows, column_count, place), MAX_VIOLATIONS))
        rows = [_number_or_zero(row, column_count) for row in rows]
    flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * column_count)
    return Decoded(flat.reshape(len(rows), column_count), violations)


def _violations(
    rows: Sequence[Sequence[Any]], column_count: int, place: Callable[[int, int], str]
) -> Iterator[Violation]:
    for index, row in enumerate(rows):
        if len(row) != column_count:
            yield Violation(f"rows[{index}]", f"found {len(row)} values, expected {column_count}")
            continue
        for column, value in enumerate(row):
            if type(value) not in (int, float):
                yield Violation(place(index, column), f"found {quoted(value)}, expected a number")


def _number_or_zero(row: Sequence[Any], column_count: int) -> list[float]:
    if len(row) != column_count:
        return [0.0] * column_count
    return [value if type(value) in (int, float) else 0.0 for value in row]


def quoted(value: object) -> str:
    """Name a value that a caller sent, without repeating more than a little of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value[:_MAX_QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
