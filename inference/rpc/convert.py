"""Messages to calls of the data plane, and its answers to messages."""

from collections.abc import Sequence

import numpy as np

from inference.core import Answer, PredictCall
from inference.errors import InvalidRequestError, Violation
from inference.generation import Generation
from inference.rows import Decoded, RowBlock, decode_rows
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["call_of", "description_of", "response_of"]


class _MessageRows:
    """Rows, one message each."""

    def __init__(self, rows: Sequence[pb.Row]) -> None:
        self._rows = rows

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def decode(self, column_count: int) -> Decoded:
        rows = [row.values for row in self._rows]
        if len(rows) == 1 and len(rows[0]) == column_count:  # most requests
            return Decoded(np.array([[*rows[0]]]))
        return decode_rows(rows, column_count, self.place, typed=True)

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].values[{column}]"


class _Tensor:
    """Rows as one block."""

    def __init__(self, tensor: pb.RowTensor) -> None:
        self._tensor = tensor
        self._field = "float32_values" if tensor.float32_values else "values"

    @property
    def row_count(self) -> int:
        return self._tensor.row_count

    def decode(self, column_count: int) -> Decoded:
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


def response_of(answer: Answer, *, as_columns: bool) -> pb.PredictResponse:
    """Return the message of `answer`, in the form that the request had."""
    generation = answer.generation
    response = pb.PredictResponse(
        model_name=generation.name,
        model_version=generation.version,
        model_digest=generation.digest,
        event_id=answer.event_id,
    )
    (_add_columns if as_columns else _add_predictions)(response, answer)
    return response


def _add_predictions(response: pb.PredictResponse, answer: Answer) -> None:
    outputs, classes, predictions = answer.outputs, answer.generation.classes, response.predictions
    if outputs.class_index is None:
        assert outputs.values is not None
        for value in outputs.values.tolist():
            predictions.add(value=value)
    elif outputs.probabilities is None:
        for index in outputs.class_index.tolist():
            predictions.add(label=classes[index], class_index=index)
    else:
        for index, shares in zip(outputs.class_index.tolist(), outputs.probabilities.tolist(), strict=True):
            predictions.add(label=classes[index], class_index=index, probabilities=shares)


def _add_columns(response: pb.PredictResponse, answer: Answer) -> None:
    outputs, columns = answer.outputs, response.columns
    columns.classes.extend(answer.generation.classes)
    if outputs.class_index is not None:
        columns.class_index.extend(outputs.class_index.tolist())
    if outputs.probabilities is not None:
        columns.probabilities.extend(outputs.probabilities.ravel().tolist())
    if outputs.values is not None:
        columns.values.extend(outputs.values.tolist())


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
