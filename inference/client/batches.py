"""Large tables in pieces that a server takes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from inference.client.rows import Rows, is_frame, is_table

__all__ = ["DEFAULT_ROWS_PER_CALL", "Batch", "split"]

#: 500 columns of doubles fill 16 MiB, the server's default limit of one message; it takes 65,536 rows.
DEFAULT_ROWS_PER_CALL: Final = 4096


class Batch(NamedTuple):
    """Some of the rows, and the number of the first of them."""

    first_row: int
    rows: Any


def split(rows: Rows, rows_per_call: int) -> Iterator[Batch]:
    """Cut `rows` lazily into batches, in their order; iterators are read as far as they are needed."""
    if rows_per_call < 1:
        raise ValueError(f"rows_per_call is {rows_per_call}, expected at least 1")
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        yield Batch(0, rows)  # no rows at all, which `encode` says in words
    elif is_table(rows) or isinstance(rows, Sequence):
        sized: Any = rows
        table = getattr(sized, "iloc", sized) if is_frame(sized) else sized
        for first in range(0, len(sized), rows_per_call):
            yield Batch(first, table[first : first + rows_per_call])
    else:
        yield from _chunks(iter(rows), rows_per_call)


def _chunks(rows: Iterator[Any], rows_per_call: int) -> Iterator[Batch]:
    first = 0
    while chunk := list(islice(rows, rows_per_call)):
        yield Batch(first, chunk)
        first += len(chunk)
