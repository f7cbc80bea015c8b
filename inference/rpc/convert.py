"""Messages to calls of the data plane."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

import numpy as np

from inference.cells import decode_cells
from inference.core import PredictCall
from inference.errors import InvalidRequestError, Violation
from inference.generation import Generation
from inference.kinds import Kind
from inference.rows import MAX_VIOLATIONS, Decoded, RowBlock, decode_rows
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["call_of", "description_of"]


#: Looked up in the class: in a message, protobuf would look for a field of that name first, at a quarter of the cost
#: of reading a row.
_has_field: Final[Callable[[pb.Row, Any], bool]] = pb.Row.HasField


class _Unset:
    """A cell that was never filled."""

    def __repr__(self) -> str:
        return "nothing"


#: What a value of protobuf may hold and a cell may not, by field, as something that is refused.
_REFUSED_CELLS: Final[dict[str | None, Any]] = {"struct_value": {}, "list_value": [], None: _Unset()}


class _MessageRows:
    """Rows, one message each: of numbers, or of cells."""

    def __init__(self, rows: Sequence[pb.Row]) -> None:
        self._rows = rows

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:
        messages = self._rows[:]  # made into objects once, and not again at each look
        if True in map(_has_field, messages, repeat("cells")):
            return self._decode_cells(column_count, kinds)
        rows = [message.values[:] for message in messages]
        if len(rows) == 1 and len(rows[0]) == column_count:  # most requests
            return Decoded(np.array(rows))
        return decode_rows(rows, column_count, self.place, typed=True)

    def _decode_cells(self, column_count: int, kinds: Sequence[Kind | None]) -> Decoded:
        both = (
            Violation(f"rows[{index}]", "found values and cells, expected one of them")
            for index, row in enumerate(self._rows)
            if row.values and row.HasField("cells")
        )
        violations = [*islice(both, MAX_VIOLATIONS)]
        if violations:
            return Decoded(np.zeros((0, column_count)), violations)
        rows = [
            [*map(_cell_of, row.cells.values)] if row.HasField("cells") else _cells_of(row.values, kinds)
            for row in self._rows
        ]
        if kinds:
            numbers, wrong = decode_cells(rows, kinds, self.place)
            every = chain(self._wrong_codes(kinds), wrong)
            return Decoded(numbers, [*islice(every, MAX_VIOLATIONS)])
        return decode_rows(rows, column_count, self.place, typed=False)

    def _wrong_codes(self, kinds: Sequence[Kind | None]) -> Iterator[Violation]:
        """Say which of the numbers among rows of cells are codes of nothing."""
        for index, row in enumerate(self._rows):
            if len(row.values) != len(kinds):
                continue  # which is told
            for column, (kind, number) in enumerate(zip(kinds, row.values, strict=False)):
                if kind is not None and _is_no_code(number, kind):
                    yield Violation(
                        self.place(index, column), f"found {number!r}, {kind.expected_number(number)}"
                    )

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].{'cells.' if self._rows[row].HasField('cells') else ''}values[{column}]"


def _cell_of(value: Any) -> Any:  # noqa: ANN401  # a Value of protobuf, to what it is in Python
    field = value.WhichOneof("kind")
    if field in _REFUSED_CELLS:
        return _REFUSED_CELLS[field]
    return None if field == "null_value" else getattr(value, field)


def _cells_of(values: Sequence[float], kinds: Sequence[Kind | None]) -> list[Any]:
    """Return a row of numbers as cells: among rows of cells, a code becomes its text."""
    padded = (*kinds, *[None] * len(values))
    return [_text_or_number(number, kind) for number, kind in zip(values, padded, strict=False)]


def _text_or_number(number: float, kind: Kind | None) -> str | float | None:
    if kind is None or not kind.is_category:
        return number
    # What is no code is told as such, not as a text that is none; the first one stands there meanwhile.
    return kind.text_of(0.0 if _is_no_code(number, kind) else number)


def _is_no_code(number: float, kind: Kind) -> bool:
    if not kind.is_category or (kind.nullable and math.isnan(number)):
        return False
    return not (number.is_integer() and 0 <= number <= kind.highest)


class _Tensor:
    """Rows as one block."""

    def __init__(self, tensor: pb.RowTensor) -> None:
        self._tensor = tensor
        self._field = "float32_values" if tensor.float32_values else "values"

    @property
    def row_count(self) -> int:
        return self._tensor.row_count

    def decode(self, column_count: int, kinds: Sequence[Kind | None] = ()) -> Decoded:  # noqa: ARG002  # only numbers
        tensor = self._tensor
        violations = self._shape_violations(column_count)
        if violations:
            return Decoded(np.empty((0, column_count)), violations)
        flat = (
            np.frombuffer(tensor.float32_values, "<f4")
            if tensor.float32_values
            else np.array(tensor.values, np.float64)
        )
        return Decoded(flat.reshape(tensor.row_count, column_count))

    def _shape_violations(self, column_count: int) -> list[Violation]:
        tensor = self._tensor
        problems = []
        if tensor.column_count != column_count:
            problems.append(
                Violation("tensor.column_count", f"found {tensor.column_count}, expected {column_count}")
            )
        if tensor.values and tensor.float32_values:
            problems.append(Violation("tensor", "found values and float32_values, expected one of them"))
        elif tensor.float32_values:
            wanted = tensor.row_count * tensor.column_count * 4
            if len(tensor.float32_values) != wanted:
                found = f"found {len(tensor.float32_values)} bytes, expected {wanted} (4 a number)"
                problems.append(Violation("tensor.float32_values", found))
        elif len(tensor.values) != tensor.row_count * tensor.column_count:
            wanted = tensor.row_count * tensor.column_count
            found = f"found {len(tensor.values)} numbers, expected {wanted} (row_count × column_count)"
            problems.append(Violation("tensor.values", found))
        return problems

    def place(self, row: int, column: int) -> str:
        return f"tensor.{self._field}[{row * self._tensor.column_count + column}]"


def call_of(request: pb.PredictRequest, request_id: str, *, shadow: bool) -> PredictCall:
    """Return what `request` asks. Raises `InvalidRequestError` when it has rows in two forms."""
    return PredictCall(
        _block_of(request),
        tuple(request.feature_names),
        request.model_name,
        request.model_version,
        request_id,
        shadow,
    )


def _block_of(request: pb.PredictRequest) -> RowBlock:
    if not request.HasField("tensor"):
        return _MessageRows(request.rows)
    if request.rows:
        raise InvalidRequestError([Violation("tensor", "found rows too, expected either rows or tensor")])
    if request.tensor.row_count < 1:
        found = f"found {request.tensor.row_count}, expected at least 1"
        raise InvalidRequestError([Violation("tensor.row_count", found)])
    return _Tensor(request.tensor)


def description_of(generation: Generation, track: str) -> pb.GetModelResponse:
    """Return the message that describes `generation`."""
    response = pb.GetModelResponse(
        manifest=generation.bundle.manifest,
        metrics=generation.bundle.metrics,
        model_version=generation.version,
        model_digest=generation.digest,
        track=track,
        generation=generation.number,
    )
    response.loaded_at.FromDatetime(generation.loaded_at)
    return response
