"""Answers that are written as bytes say what a message of protobuf would."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.artifacts import Bundle, Outputs
from inference.core import Answer
from inference.generation import Generation
from inference.metrics import Metrics
from inference.oip import raw_of
from inference.oip.outputs import output_tensors
from inference.rpc.answer_bytes import response_bytes
from inference.rpc.plain_infer import plain_block, plain_response
from inference.rpc.tensors import inputs_of
from inference.signature import Signature
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.manifest_pb2 import ModelManifest
from protos.oip import open_inference_pb2 as oip

_TEXTS = st.text(max_size=200)
#: Around one byte and two bytes of a varint, for indices and for lengths.
_CLASS_COUNTS = st.sampled_from([1, 2, 3, 16, 17, 127, 128, 129, 300])


class _Predictor:
    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        raise NotImplementedError


def _generation(name: str, version: str, classes: tuple[str, ...]) -> Generation:
    return Generation(
        number=1,
        name=name,
        version=version,
        bundle=Bundle(Path("m"), ModelManifest(), None, "d" * 64),
        predictor=_Predictor(),
        signature=Signature(ModelManifest()),
        classes=classes,
        counters=Metrics("stable").prediction_counters(["a"]),
        loaded_at=datetime.now(UTC),
    )


@st.composite
def _answers(draw: st.DrawFn) -> Answer:
    rows = draw(st.sampled_from([1, 2, 64, 127, 128, 200]))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    name, version, event_id = draw(_TEXTS), draw(_TEXTS), draw(_TEXTS)
    if draw(st.booleans()):
        values = generator.normal(size=rows)
        values[0] = draw(st.floats())
        return Answer(Outputs(values=values), _generation(name, version, ()), event_id)
    count = draw(_CLASS_COUNTS)
    classes = tuple(f"{draw(st.text(max_size=3)) if index < 3 else 'c'}{index}" for index in range(count))
    probabilities = generator.random((rows, count), dtype=np.float32)
    probabilities[0, 0] = draw(st.sampled_from([0.0, 1.0, np.nan]))
    index = generator.integers(0, count, rows)
    outputs = Outputs(class_index=index, probabilities=probabilities)
    return Answer(outputs, _generation(name, version, ("", *classes[1:])), event_id)


def _message(answer: Answer, *, as_columns: bool) -> pb.PredictResponse:
    outputs, generation = answer.outputs, answer.generation
    response = pb.PredictResponse(
        model_name=generation.name,
        model_version=generation.version,
        model_digest=generation.digest,
        event_id=answer.event_id,
    )
    if as_columns:
        response.columns.classes.extend(generation.classes)
    if outputs.class_index is None:
        for value in outputs.values.tolist():
            if as_columns:
                response.columns.values.append(value)
            else:
                response.predictions.add(value=value)
        return response
    for index, shares in zip(outputs.class_index.tolist(), outputs.probabilities.tolist(), strict=True):
        if as_columns:
            response.columns.class_index.append(index)
            response.columns.probabilities.extend(shares)
        else:
            response.predictions.add(label=generation.classes[index], class_index=index, probabilities=shares)
    return response


@given(_answers(), st.booleans())
def test_predict_answers_the_bytes_of_the_message(answer: Answer, as_columns: bool) -> None:
    """Whatever model, rows and numbers: the same bytes as protobuf writes, so nothing is lost and nothing is added."""
    wanted = _message(answer, as_columns=as_columns).SerializeToString()
    assert response_bytes(answer, as_columns=as_columns) == wanted


@given(_answers(), _TEXTS)
def test_model_infer_answers_the_bytes_of_the_message(answer: Answer, request_id: str) -> None:
    """The plain way of ModelInfer writes what the general way would."""
    generation = answer.generation
    response = oip.ModelInferResponse(
        model_name=generation.name, model_version=generation.version, id=request_id
    )
    response.parameters["event_id"].string_param = answer.event_id
    for tensor in output_tensors(answer, ()):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(raw_of(tensor))
    assert plain_response(answer, request_id) == response.SerializeToString()


def _request(shape: tuple[int, ...] = (2, 3), data: bytes = bytes(24)) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(raw_input_contents=[data])
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    return request


def test_a_plain_request_has_the_rows_of_the_general_way() -> None:
    """One tensor of FP32 in raw contents is plain; its numbers and their places are those of the general way."""
    numbers = np.arange(6, dtype="<f4")
    request = _request(data=numbers.tobytes())
    block = plain_block(request)
    assert block is not None
    assert block.row_count == 2
    np.testing.assert_array_equal(block.decode(3).numbers, numbers.reshape(2, 3))
    elements = inputs_of(request)[0].elements
    assert block.place(1, 2) == elements.place(5)
    violations = block.decode(4).violations
    assert [violation.field for violation in violations] == ["inputs[0].shape"]


def _with(change: str) -> oip.ModelInferRequest:
    request = _request()
    if change == "typed":
        request.inputs[0].contents.fp32_contents.append(1.0)
    elif change == "empty contents":
        request.inputs[0].contents.SetInParent()
    elif change == "datatype":
        request.inputs[0].datatype = "FP64"
    elif change == "outputs":
        request.outputs.add(name="label")
    elif change == "two inputs":
        request.inputs.add(name="y", datatype="FP32", shape=(2, 3))
    elif change == "no raw":
        del request.raw_input_contents[:]
    return request


@pytest.mark.parametrize("change", ["typed", "empty contents", "datatype", "outputs", "two inputs", "no raw"])
def test_what_is_not_plain_goes_the_general_way(change: str) -> None:
    """Another form of the request is left to the general way, which takes it or says what is wrong."""
    assert plain_block(_with(change)) is None


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1), (0, 3), (-2, -3), (2, 4), (1 << 62, 8)])
def test_a_shape_that_is_not_plain_or_does_not_fit_goes_the_general_way(shape: tuple[int, ...]) -> None:
    """The general way has the words for a shape that is wrong, and takes a vector for a model of one feature."""
    assert plain_block(_request(shape=shape)) is None
