"""Answers as bytes of `PredictResponse`, without a message in between.

A message for each row is made, filled and read again to become a few bytes, most of which are the same for all answers
of one model. Here those are made once (`_Form`), and the numbers are copied from the arrays as they lie in memory,
which is how protobuf packs them. A test compares what is made here with what protobuf makes of the same answer.
"""

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.core import Answer
from inference.rpc.wire import (
    FIXED64,
    ONE_BYTE,
    VARINT,
    head_of,
    lengthed,
    number_of,
    packed,
    tag,
    text,
    varint,
)
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["response_bytes"]

#: How many forms are kept; models serve by the handful, and each form has a few hundred bytes.
_FORMS: Final = 64
_DOUBLE: Final = np.dtype("<f8")

_RESPONSE: Final = pb.PredictResponse.DESCRIPTOR
_PREDICTION: Final = pb.Prediction.DESCRIPTOR
_COLUMNS: Final = pb.PredictionColumns.DESCRIPTOR
_VALUES: Final = number_of(_COLUMNS, "values")
_CLASS_INDEX: Final = number_of(_COLUMNS, "class_index")
_SHARES: Final = number_of(_COLUMNS, "probabilities")
_IN_COLUMNS: Final = number_of(_RESPONSE, "columns")
_EVENT_ID: Final = number_of(_RESPONSE, "event_id")
_PREDICTIONS: Final = number_of(_RESPONSE, "predictions")
_VALUE_TAG: Final = tag(number_of(_PREDICTION, "value"), FIXED64)
#: All before the value of one row of a regression.
_VALUE: Final = head_of(_PREDICTIONS, len(_VALUE_TAG) + _DOUBLE.itemsize) + _VALUE_TAG


class _Form(NamedTuple):
    """What is the same in all answers of one model."""

    #: All before the shares of one row, by class.
    rows: tuple[bytes, ...]
    #: The classes among the columns.
    classes: bytes
    #: What is said of the model, at the end.
    model: bytes


def response_bytes(answer: Answer, *, as_columns: bool) -> bytes:
    """Return `PredictResponse` with `answer`, in the form that the request had."""
    generation, outputs = answer.generation, answer.outputs
    width = 0 if outputs.probabilities is None else outputs.probabilities.shape[1]
    form = _form_of(generation.name, generation.version, generation.digest, generation.classes, width)
    parts = _columns(answer, form) if as_columns else _predictions(answer, form, width * _DOUBLE.itemsize)
    return b"".join((*parts, form.model, text(_EVENT_ID, answer.event_id)))


def _predictions(answer: Answer, form: _Form, size: int) -> list[bytes]:
    outputs, heads = answer.outputs, form.rows
    if outputs.class_index is None:
        assert outputs.values is not None
        values = outputs.values.astype(_DOUBLE).tobytes()
        return [_VALUE + values[at : at + 8] for at in range(0, len(values), 8)]
    assert outputs.probabilities is not None
    shares = outputs.probabilities.astype(_DOUBLE).tobytes()
    return [
        heads[index] + shares[row * size : (row + 1) * size]
        for row, index in enumerate(outputs.class_index.tolist())
    ]


def _columns(answer: Answer, form: _Form) -> list[bytes]:
    outputs = answer.outputs
    if outputs.class_index is None:
        assert outputs.values is not None
        values = outputs.values.astype(_DOUBLE).tobytes()
        content = form.classes + lengthed(_VALUES, values)
    else:
        assert outputs.probabilities is not None
        shares = outputs.probabilities.astype(_DOUBLE).tobytes()
        content = (
            lengthed(_CLASS_INDEX, _indices(outputs.class_index, len(form.rows)))
            + form.classes
            + lengthed(_SHARES, shares)
        )
    return [lengthed(_IN_COLUMNS, content)]


def _indices(found: NDArray[np.int64], classes: int) -> bytes:
    return found.astype(np.uint8).tobytes() if classes <= ONE_BYTE else packed(found.tolist())


@functools.lru_cache(_FORMS)
def _form_of(name: str, version: str, digest: str, classes: tuple[str, ...], width: int) -> _Form:
    columns = b"".join(lengthed(number_of(_COLUMNS, "classes"), label.encode()) for label in classes)
    said = (
        text(number_of(_RESPONSE, field), value)
        for field, value in (("model_name", name), ("model_version", version), ("model_digest", digest))
    )
    return _Form(tuple(_row(*each, width) for each in enumerate(classes)), columns, b"".join(said))


def _row(index: int, label: str, width: int) -> bytes:
    number = tag(number_of(_PREDICTION, "class_index"), VARINT) + varint(index) if index else b""
    inside = text(number_of(_PREDICTION, "label"), label) + number
    inside += head_of(number_of(_PREDICTION, "probabilities"), width * _DOUBLE.itemsize) if width else b""
    return head_of(_PREDICTIONS, len(inside) + width * _DOUBLE.itemsize) + inside
