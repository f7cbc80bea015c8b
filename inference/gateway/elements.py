"""The elements of one input tensor in JSON: numbers, truth values or texts in a list, or in a list of lists."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import Violation
from inference.gateway.json_fields import invalid
from inference.kinds import Kind
from inference.oip import Datatype, Elements, Texts, miscounted, out_of_bounds
from inference.rows import MAX_VIOLATIONS, Decoded, quoted

__all__ = ["json_elements"]


class _JsonNumbers:
    """Numbers in a list, flat by now."""

    def __init__(self, values: Sequence[Any], datatype: Datatype, place: str, width: int) -> None:
        self._values = values
        self._datatype = datatype
        self._place = place
        self._width = width

    def mismatch(self, count: int) -> Violation | None:
        return miscounted(len(self._values), count, self._place)

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        types: set[type] = {int, bool} if self._datatype.name == "BOOL" else {int}
        if not self._datatype.whole:
            types.add(float)
        missing = any(kind is not None and kind.nullable for kind in kinds) and None in self._values
        # Where null may stand is the model's to say; 0, which stands there meanwhile, fits every datatype.
        values = [0 if value is None else value for value in self._values] if missing else self._values
        if not set(map(type, values)) <= types:
            return Decoded(np.zeros(count), [*islice(self._wrong(values, types), MAX_VIOLATIONS)])
        wrong = out_of_bounds([*values], self._datatype, self.place)
        if wrong:
            return Decoded(np.zeros(count), wrong)
        numbers = np.fromiter(map(float, values), np.float64, count)
        if not missing:
            return Decoded(numbers)
        numbers[[value is None for value in self._values]] = np.nan
        wrong = [*islice(self._unexpected_nulls(kinds, numbers), MAX_VIOLATIONS)]
        return Decoded(numbers, wrong)

    def place(self, index: int) -> str:
        return _place(self._place, index, self._width)

    def _unexpected_nulls(
        self, kinds: Sequence[Kind | None], numbers: NDArray[np.float64]
    ) -> Iterator[Violation]:
        """Say where null stands for a feature that is never missing, and put 0 there, which says no more."""
        for index in np.flatnonzero(np.isnan(numbers)).tolist():
            kind = kinds[index % len(kinds)]
            if kind is not None and not kind.nullable:
                numbers[index] = 0
                yield Violation(self.place(index), f"found null, {kind.expected_number(math.nan)}")

    def _wrong(self, values: Sequence[Any], types: set[type]) -> Iterator[Violation]:
        expected = f"expected a {'whole ' if self._datatype.whole else ''}number ({self._datatype.name})"
        for index, value in enumerate(values):
            if type(value) not in types:
                yield Violation(self.place(index), f"found {quoted(value)}, {expected}")


class _JsonTexts(Texts):
    """Texts in a list, flat by now."""

    def __init__(self, values: Sequence[object], place: str, width: int) -> None:
        super().__init__(values, place)
        self._list_place = place
        self._width = width

    def place(self, index: int) -> str:
        """Return the path of one text."""
        return _place(self._list_place, index, self._width)


def json_elements(data: list[Any], shape: Sequence[int], datatype: Datatype, place: str) -> Elements:
    """Return the elements in `data`, flat or in the form of `shape`. Raises `InvalidRequestError`."""
    values = _flat(data, shape, place)
    width = 0 if values is data else shape[1]
    if datatype.raw is None:
        return _JsonTexts(values, place, width)
    return _JsonNumbers(values, datatype, place, width)


def _place(place: str, index: int, width: int) -> str:
    """Return the path of element number `index`; `width` is the length of each inner list, 0 without them."""
    return f"{place}[{index // width}][{index % width}]" if width else f"{place}[{index}]"


def _flat(values: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """Flatten lists in lists: the protocol allows data in the form of the shape."""
    if list not in map(type, values):
        return values
    if len(shape) != 2:
        raise invalid(place, f"found lists in a list, expected {shape[0]} elements, as the shape says")
    rows, columns = shape
    if len(values) != rows:
        raise invalid(place, f"found {len(values)} rows, expected {rows}, as the shape says")
    for index, row in enumerate(values):
        if type(row) is not list or len(row) != columns or list in map(type, row):
            expected = f"expected row {index} as a list of {columns} elements, as the shape says"
            raise invalid(place, f"found {_described(row)}, {expected}")
    return [*chain.from_iterable(values)]


def _described(row: object) -> str:
    if type(row) is not list:
        return quoted(row)
    return "lists in it" if list in map(type, row) else f"{len(row)} elements"
