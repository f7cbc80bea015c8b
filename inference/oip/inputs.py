"""Input tensors to the rows of a prediction, in either of two forms.

One tensor (rows, features) of any name has the features in the model's own order: numbers, of a category its code. Or
there is one tensor for each feature, named after it, of the shape (rows) or (rows, 1), in any order and each of its own
datatype: BYTES for the texts of a category, numbers for all else. What is missing is nan, in JSON null, or an empty
text.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from inference.errors import InvalidRequestError, Violation
from inference.kinds import Kind
from inference.oip.datatypes import Datatype, datatype_of
from inference.oip.elements import Elements, Texts
from inference.rows import MAX_VIOLATIONS, Decoded, RowBlock, quoted

__all__ = ["InputTensor", "block_of", "input_tensor", "read_each", "renamed"]

#: What a shape may multiply to: elements are counted in 63 bits, as numpy and the protocol's own shapes are.
_MAX_ELEMENTS: Final = 2**63 - 1
#: Sizes that a sentence shows of a shape.
_SIZES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One input, its shape and the number of its elements checked."""

    #: Which of the inputs of the request it is.
    index: int
    name: str
    #: (rows) or (rows, columns), each at least 1.
    shape: tuple[int, ...]
    elements: Elements

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def input_tensor(
    index: int,
    name: str,
    datatype: object,
    shape: Sequence[int],
    elements_of: Callable[[Datatype], Elements],
) -> InputTensor:
    """Return the input number `index` of a request; `elements_of` makes its elements.

    Raises `InvalidRequestError`.
    """
    found = datatype_of(datatype, f"inputs[{index}].datatype")
    count = _element_count(shape, f"inputs[{index}].shape")
    elements = elements_of(found)
    mismatch = elements.mismatch(count)
    if mismatch is not None:
        described = f"{mismatch.description}, as the shape {_shown(shape)} says"
        raise InvalidRequestError([Violation(mismatch.field, described)])
    return InputTensor(index, name, tuple(shape), elements)


def read_each(count: int, read: Callable[[int], InputTensor]) -> list[InputTensor]:
    """Read inputs number 0 to `count` - 1 by `read`. Raises one `InvalidRequestError` for all of them."""
    tensors: list[InputTensor] = []
    violations: list[Violation] = []
    places: dict[str, int] = {}
    for index in range(count):
        try:
            tensor = read(index)
        except InvalidRequestError as error:
            violations += error.violations
        else:
            tensors.append(tensor)
            first = places.setdefault(tensor.name, index)
            if first != index:
                again = f"found {quoted(tensor.name)} again, it is inputs[{first}].name too"
                violations.append(Violation(f"inputs[{index}].name", again))
        if len(violations) >= MAX_VIOLATIONS:
            break
    if violations:
        raise InvalidRequestError(violations[:MAX_VIOLATIONS])
    return tensors


def block_of(tensors: Sequence[InputTensor]) -> tuple[RowBlock, tuple[str, ...]]:
    """Return the rows, and the features of their columns; no names mean the model's order.

    Raises `InvalidRequestError` when several tensors do not go together.
    """
    if len(tensors) == 1:
        return _Table(tensors[0]), ()
    violations = [*filter(None, (_no_column(tensor, tensors[0].shape[0]) for tensor in tensors))]
    if violations:
        raise InvalidRequestError(violations[:MAX_VIOLATIONS])
    return _Columns(tensors), tuple(tensor.name for tensor in tensors)


def renamed(error: InvalidRequestError) -> InvalidRequestError:
    """Return `error` with the places of features in the words of this protocol."""
    return InvalidRequestError([Violation(_renamed(v.field), v.description) for v in error.violations])


def _renamed(field: str) -> str:
    if field.startswith("feature_names["):
        return f"inputs{field.removeprefix('feature_names')}.name"
    return "inputs" if field == "feature_names" else field


class _Table:
    """Rows in one tensor."""

    def __init__(self, tensor: InputTensor) -> None:
        self._tensor = tensor
        self._width = tensor.shape[1] if len(tensor.shape) > 1 else 1

    @property
    def row_count(self) -> int:
        return self._tensor.shape[0]

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        if self._width != column_count:
            expected = (
                f"expected [rows, {column_count}], or for each of the {column_count} features a tensor of its "
                "name and the shape [rows]"
            )
            found = f"found {_shown(self._tensor.shape)}, {expected}"
            return Decoded(np.empty((0, column_count)), [Violation("inputs[0].shape", found)])
        numbers, violations = self._tensor.elements.decode(self._tensor.count, kinds)
        return Decoded(numbers.reshape(self.row_count, column_count), violations)

    def place(self, row: int, column: int) -> str:
        return self._tensor.elements.place(row * self._width + column)


class _Columns:
    """Rows in one tensor a feature."""

    def __init__(self, tensors: Sequence[InputTensor]) -> None:
        self._tensors = tensors

    @property
    def row_count(self) -> int:
        return self._tensors[0].shape[0]

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        if (
            len(self._tensors) != column_count
        ):  # then the names, which differ, cannot be those of the features
            return Decoded(np.empty((0, column_count)))
        decoded = [
            _column(tensor, self.row_count, kinds[index : index + 1])
            for index, tensor in enumerate(self._tensors)
        ]
        numbers = np.stack([column.numbers for column in decoded], axis=1).astype(np.float64)
        return Decoded(numbers, [*chain.from_iterable(column.violations for column in decoded)])

    def place(self, row: int, column: int) -> str:
        return self._tensors[column].elements.place(row)


def _column(tensor: InputTensor, rows: int, kinds: Sequence[Kind | None]) -> Decoded:
    kind = kinds[0] if kinds else None
    if kind is not None and kind.is_category and not isinstance(tensor.elements, Texts):
        # Not taken as codes: the number 1 may be meant to be the category "1", which has another code.
        expected = f"found numbers, expected BYTES, the texts of the feature {quoted(kind.name)}"
        return Decoded(np.zeros(rows), [Violation(f"inputs[{tensor.index}].datatype", expected)])
    return tensor.elements.decode(rows, kinds)


def _element_count(shape: Sequence[int], place: str) -> int:
    if not 1 <= len(shape) <= 2:
        expected = "expected [rows, features], or [rows] for each feature"
        raise InvalidRequestError([Violation(place, f"found {_shown(shape)}, {expected}")])
    if min(shape) < 1:
        raise InvalidRequestError([Violation(place, f"found {_shown(shape)}, expected sizes of at least 1")])
    count = math.prod(shape)
    if count > _MAX_ELEMENTS:
        found = f"found {_shown(shape)}, which is {count} elements, more than any tensor has"
        raise InvalidRequestError([Violation(place, found)])
    return count


def _no_column(tensor: InputTensor, rows: int) -> Violation | None:
    if tensor.shape in ((rows,), (rows, 1)):
        return None
    expected = (
        f"expected [{rows}] or [{rows}, 1], as there is one tensor a feature and inputs[0] has {rows} rows"
    )
    return Violation(f"inputs[{tensor.index}].shape", f"found {_shown(tensor.shape)}, {expected}")


def _shown(shape: Sequence[int]) -> str:
    more = ", …" if len(shape) > _SIZES_SHOWN else ""
    return f"[{', '.join(map(str, shape[:_SIZES_SHOWN]))}{more}]"
