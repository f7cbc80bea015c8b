"""The elements of one input tensor, in the forms that both transports have in common: raw bytes, and texts.

Each transport adds its own form: `rpc.tensors` typed contents, `gateway.tensors` lists of JSON.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.cells import decode_cells
from inference.errors import Violation
from inference.kinds import Kind
from inference.oip.datatypes import Datatype
from inference.rows import MAX_VIOLATIONS, Decoded, quoted

__all__ = ["Elements", "Texts", "miscounted", "out_of_bounds", "raw_elements"]

#: Raw contents put the length of each element of BYTES before it, in four bytes.
_LENGTH: Final = struct.Struct("<I")


class Elements(Protocol):
    """The elements of one tensor, in row-major order."""

    def mismatch(self, count: int) -> Violation | None:
        """Say that there are not `count` elements, as far as that is known without decoding them."""

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        """Decode to (count,), and say where that is impossible.

        `kinds` are those of the columns of a row, for a model that takes more than numbers.
        """

    def place(self, index: int) -> str:
        """Return the path of one element in the caller's own form."""


def raw_elements(data: bytes, datatype: Datatype, place: str) -> Elements:
    """Return the elements in `data`, which is at `place`."""
    return _RawTexts(data, place) if datatype.raw is None else _Raw(data, datatype, datatype.raw, place)


class _Raw:
    """Elements of a fixed length."""

    def __init__(self, data: bytes, datatype: Datatype, dtype: "np.dtype[np.generic]", place: str) -> None:
        self._data = data
        self._datatype = datatype
        self._dtype = dtype
        self._place = place

    def mismatch(self, count: int) -> Violation | None:
        size = self._dtype.itemsize
        if len(self._data) == count * size:
            return None
        expected = f"expected {count * size} ({count} elements of {self._datatype.name}, {size} bytes each)"
        return Violation(self._place, f"found {len(self._data)} bytes, {expected}")

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:  # noqa: ARG002  # only numbers
        elements = np.frombuffer(self._data, self._dtype, count)
        # Of what fits the bytes, only a truth value can be wrong.
        wrong = out_of_bounds(elements, self._datatype, self.place) if self._datatype.name == "BOOL" else ()
        return Decoded(self._datatype.numbers_of(elements), wrong)

    def place(self, index: int) -> str:
        return f"{self._place}[{index}]"


class Texts:
    """Elements of BYTES: texts of categories; where a feature takes numbers, each of them is refused."""

    def __init__(self, texts: Sequence[object], place: str) -> None:
        self._texts = texts
        self._place = place

    def mismatch(self, count: int) -> Violation | None:
        """Say that there are not `count` texts."""
        return miscounted(len(self._texts), count, self._place)

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        """Return the codes of the texts, or refuse each of them when no feature takes texts."""
        return self._decoded(self._texts, count, kinds)

    def place(self, index: int) -> str:
        """Return the path of one text."""
        return f"{self._place}[{index}]"

    def _decoded(self, texts: Sequence[object], count: int, kinds: Sequence[Kind | None]) -> Decoded:
        if not any(kind is not None and kind.is_category for kind in kinds):
            return Decoded(np.zeros(count), [*islice(self._refused(texts), MAX_VIOLATIONS)])
        width = len(kinds)
        cells = [_cell(text, kinds[index % width]) for index, text in enumerate(texts)]
        rows = [cells[at : at + width] for at in range(0, count, width)]
        numbers, violations = decode_cells(rows, kinds, lambda row, column: self.place(row * width + column))
        return Decoded(numbers.reshape(count), violations)

    def _refused(self, texts: Sequence[object]) -> Iterator[Violation]:
        for index, text in enumerate(texts):
            expected = "expected a number: send FP32, or another datatype of numbers"
            yield Violation(self.place(index), f"found the text {_shown(text)}, {expected}")


class _RawTexts(Texts):
    """Elements of BYTES, each after its length."""

    def __init__(self, data: bytes, place: str) -> None:
        super().__init__((), place)
        self._data = data

    def mismatch(self, count: int) -> Violation | None:
        if len(self._data) >= count * _LENGTH.size:
            return None
        expected = f"expected at least {count * _LENGTH.size} (a length of four bytes for each of {count})"
        return Violation(self._place, f"found {len(self._data)} bytes, {expected}")

    def decode(self, count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        texts: list[bytes] = []
        at = 0
        while at < len(self._data) and len(texts) < count:
            start = at + _LENGTH.size
            if start > len(self._data):
                return self._broken(
                    count, f"found {len(self._data) - at} bytes where a length is expected", at
                )
            (length,) = _LENGTH.unpack_from(self._data, at)
            at = start + length
            if at > len(self._data):
                found = f"found {len(self._data) - start} bytes of an element of {length} bytes"
                return self._broken(count, found, start)
            texts.append(self._data[start:at])
        if len(texts) != count or at != len(self._data):
            more = f" and {len(self._data) - at} bytes more" if at < len(self._data) else ""
            return self._broken(count, f"found {len(texts)} elements{more}, expected {count}", at)
        return self._decoded(texts, count, kinds)

    def _broken(self, count: int, found: str, at: int) -> Decoded:
        return Decoded(np.zeros(count), [Violation(self._place, f"{found} (at byte {at})")])


def miscounted(found: int, count: int, place: str) -> Violation | None:
    """Say that `found` elements are not `count`, if so."""
    return None if found == count else Violation(place, f"found {found} elements, expected {count}")


def out_of_bounds(
    elements: "list[Any] | NDArray[Any]", datatype: Datatype, place: Callable[[int], str]
) -> list[Violation]:
    """Say which of `elements`, at least one number, `datatype` cannot hold."""
    if datatype.bounds is None:
        return []
    low, high = datatype.bounds
    if isinstance(elements, np.ndarray):
        if elements.min() >= low and elements.max() <= high:
            return []
        elements = elements.tolist()
    elif min(elements) >= low and max(elements) <= high:
        return []
    expected = f"expected {'a whole number' if datatype.whole else 'a number'} from {low} to {high}"
    wrong = (
        Violation(place(index), f"found {quoted(value)}, {expected} ({datatype.name})")
        for index, value in enumerate(elements)
        if not low <= value <= high
    )
    return [*islice(wrong, MAX_VIOLATIONS)]


def _cell(text: object, kind: Kind | None) -> object:
    """Return a text as a cell; an empty one is a missing value, unless it is a category."""
    cell = text.decode(errors="surrogateescape") if isinstance(text, bytes) else text
    missing = cell == "" and kind is not None and kind.nullable and "" not in kind.categories
    return None if missing else cell


def _shown(text: object) -> str:
    return quoted(text.decode(errors="replace") if isinstance(text, bytes) else text)
