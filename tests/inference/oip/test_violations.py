"""What is wrong with a request of the Open Inference Protocol is named with its place, in the caller's own words."""

import struct
from collections.abc import Callable

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
VALUES = [5.1, 3.5, 1.4, 0.2]
RAW = np.array(VALUES, "<f4").tobytes()

Change = Callable[[pb.ModelInferRequest], object]


def good() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="iris")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend(VALUES)
    return request


def raw(datatype: str, *contents: bytes, shape: tuple[int, ...] = (1, 4)) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="iris", raw_input_contents=contents)
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


def typed(datatype: str, **contents: object) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 4])
    tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    return request


def shaped(*shape: int) -> pb.ModelInferRequest:
    request = good()
    request.inputs[0].shape[:] = shape
    return request


def columns(*names: str, shape: tuple[int, ...] = (2,)) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="iris")
    for name in names:
        tensor = request.inputs.add(name=name, datatype="FP32", shape=shape)
        tensor.contents.fp32_contents.extend([1.0] * abs(int(np.prod(shape))))
    return request


def asking(name: str, **parameters: bool) -> pb.ModelInferRequest:
    request = good()
    output = request.outputs.add(name=name)
    for parameter, value in parameters.items():
        output.parameters[parameter].bool_param = value
    return request


def both_forms() -> pb.ModelInferRequest:
    request = good()
    request.raw_input_contents.append(RAW)
    return request


def twice(name: str) -> pb.ModelInferRequest:
    request = asking(name)
    request.outputs.add(name=name)
    return request


def text(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def violations_of(running: object, request: pb.ModelInferRequest) -> dict[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(running.channel).ModelInfer(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(details)
    return {violation.field: violation.description for violation in details.field_violations}


@pytest.mark.parametrize(
    ("request_", "place", "words"),
    [
        (pb.ModelInferRequest(), "inputs", "found 0 tensors"),
        (columns("sepal_length", "sepal_width"), "inputs", "one for each of the 4 features"),
        (typed("STRING", fp32_contents=VALUES), "inputs[0].datatype", "found 'STRING', expected one of BOOL"),
        (typed("FP32"), "inputs[0].contents", "found none"),
        (typed("FP64", fp32_contents=VALUES), "inputs[0].contents.fp32_contents", "in fp64_contents"),
        (typed("FP16", fp32_contents=VALUES), "inputs[0].contents", "send raw_input_contents"),
        (typed("BF16", fp32_contents=VALUES), "inputs[0].contents", "send raw_input_contents"),
        (typed("FP32", fp32_contents=VALUES[:3]), "inputs[0].contents.fp32_contents", "found 3 elements"),
        (typed("INT8", int_contents=[1, 300, 1, 1]), "inputs[0].contents.int_contents[1]", "-128 to 127"),
        (
            typed("UINT16", uint_contents=[65536, 1, 1, 1]),
            "inputs[0].contents.uint_contents[0]",
            "0 to 65535",
        ),
        (typed("FP32", fp32_contents=[1, 2, np.inf, 4]), "inputs[0].contents.fp32_contents[2]", "finite"),
        (typed("FP64", fp64_contents=[1, 2, 3, 1e39]), "inputs[0].contents.fp64_contents[3]", "32-bit"),
        (typed("BYTES", bytes_contents=[b"5.1"] * 4), "inputs[0].contents.bytes_contents[3]", "'5.1'"),
        (both_forms(), "inputs[0].contents.fp32_contents", "beside raw_input_contents"),
        (raw("FP32", RAW, RAW), "raw_input_contents", "found 2, expected 1"),
        (raw("FP32", RAW[:-1]), "raw_input_contents[0]", "found 15 bytes, expected 16 (4 elements of FP32"),
        (raw("FP64", RAW), "raw_input_contents[0]", "expected 32"),
        (raw("BOOL", b"\0\1\2\1"), "raw_input_contents[0][2]", "0 to 1"),
        (
            raw("FP32", np.array([1, np.nan, 1, 1], "<f4").tobytes()),
            "raw_input_contents[0][1]",
            "feature sepal_width",
        ),
        (raw("BYTES", text(b"a", b"bc", b"", b"\xff")), "raw_input_contents[0][1]", "'bc'"),
        (raw("BYTES", b"\1\0\0"), "raw_input_contents[0]", "a length of four bytes"),
        (raw("BYTES", text(b"a" * 20)), "raw_input_contents[0]", "found 1 elements, expected 4"),
        (raw("BYTES", text(b"a", b"b", b"c") + b"\x09\0\0\0d"), "raw_input_contents[0]", "of 9 bytes"),
        (raw("BYTES", text(b"a", b"b", b"c", b"d", b"e")), "raw_input_contents[0]", "5 bytes more"),
        (raw("BYTES", text(b"a" * 9) + b"\1\0\0"), "raw_input_contents[0]", "where a length is expected"),
        (shaped(), "inputs[0].shape", "[rows, features]"),
        (shaped(1, 2, 2), "inputs[0].shape", "[rows, features]"),
        (shaped(0, 4), "inputs[0].shape", "at least 1"),
        (shaped(-1, 4), "inputs[0].shape", "at least 1"),
        (shaped(2**62, 4), "inputs[0].shape", "more than any tensor has"),
        (shaped(4), "inputs[0].shape", "found [4], expected [rows, 4], or for each of the 4 features"),
        (shaped(2, 2), "inputs[0].shape", "expected [rows, 4]"),
        (columns(*FEATURES[:3], "petal_width", shape=(2, 2)), "inputs[3].shape", "expected [2] or [2, 1]"),
        (columns(*FEATURES[:3], "petal_colour"), "inputs[3].name", "found 'petal_colour', expected one of"),
        (columns(*FEATURES[:3], "petal_colour"), "inputs", "misses petal_width"),
        (columns(*FEATURES[:3], "sepal_length"), "inputs[3].name", "it is inputs[0].name too"),
        (asking("value"), "outputs[0].name", "expected one of label, probabilities"),
        (twice("label"), "outputs[1].name", "it is outputs[0].name too"),
        (asking("label", classification=True), "outputs[0].parameters.classification", "not offered"),
    ],
)
def test_each_mistake_has_its_place(
    running: object, request_: pb.ModelInferRequest, place: str, words: str
) -> None:
    """Every kind of mistake is INVALID_ARGUMENT with the field it is in, and says what was found or is expected."""
    found = violations_of(running, request_)
    assert place in found
    assert words in found[place]


def test_all_mistakes_are_told_at_once(running: object) -> None:
    """Several inputs that are wrong in several ways give a violation each."""
    request = columns(*FEATURES)
    request.inputs[0].datatype = "?"
    request.inputs[1].shape[:] = [0]
    del request.inputs[2].contents.fp32_contents[0]
    assert set(violations_of(running, request)) == {
        "inputs[0].datatype",
        "inputs[1].shape",
        "inputs[2].contents.fp32_contents",
    }


def test_whole_numbers_stay_whole(make_service: object, make_bundle: object) -> None:
    """A feature of integers takes no fraction, in whatever datatype it comes."""
    running = make_service(make_bundle(integers=2))
    for name in ("fp32", "fp64"):
        request = typed(name.upper(), **{f"{name}_contents": [5.1, 3, 1.4, 0.2]})
        found = violations_of(running, request)
        assert [*found] == [f"inputs[0].contents.{name}_contents[0]"]
        assert (
            "expected a whole number (feature sepal_length)"
            in found[f"inputs[0].contents.{name}_contents[0]"]
        )
    request = typed("INT32", int_contents=[5, 3, 1, 0])
    assert GRPCInferenceServiceStub(running.channel).ModelInfer(request, timeout=5).outputs


def test_too_many_rows_are_refused(
    make_service: object, retry_after_ms: Callable[[grpc.RpcError], int]
) -> None:
    """The limit on rows holds, and says not to try again."""
    running = make_service(max_rows_per_request=1)
    request = columns(*FEATURES)
    with pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(running.channel).ModelInfer(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_after_ms(caught.value) == -1


TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


def infer(running: object, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
    body = {"inputs": [{**TENSOR, **fields}]}
    return running.http.post("/v2/models/iris/infer", json=body, headers=headers)


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        (
            {"data": [[1, 2, 3], [4]], "shape": [2, 2]},
            "inputs[0].data",
            "found 3 elements, expected row 0 as a list of 2",
        ),
        ({"data": [[1, 2, 3, 4]], "shape": [2, 2]}, "inputs[0].data", "found 1 rows, expected 2"),
        ({"data": [[1, 2], 3], "shape": [2, 2]}, "inputs[0].data", "found 3, expected row 1"),
        ({"data": [[[1], [2]], [3, 4]], "shape": [2, 2]}, "inputs[0].data", "found lists in it"),
        ({"data": [[1], [2]], "shape": [2]}, "inputs[0].data", "found lists in a list"),
        ({"datatype": "INT16", "data": [1, 2, 3, 4.5]}, "inputs[0].data[3]", "a whole number"),
        ({"datatype": "BOOL", "data": [True, False, 1, 2]}, "inputs[0].data[3]", "0 to 1"),
        ({"datatype": "FP16", "data": [1, 2, 3, 65505]}, "inputs[0].data[3]", "65504"),
        ({"datatype": "UINT64", "data": [1, 2, 3, -1]}, "inputs[0].data[3]", "from 0"),
        ({"data": [1, 2, 3, "4"]}, "inputs[0].data[3]", "found '4', expected a number"),
        ({"data": [[1, 2, "3", 4]]}, "inputs[0].data[0][2]", "found '3', expected a number"),
        ({"data": [["a", "b", "c", "d"]], "datatype": "BYTES"}, "inputs[0].data[0][3]", "the text 'd'"),
        ({"data": [1, 2, 3, True]}, "inputs[0].data[3]", "found true, expected a number"),
        ({"datatype": "BYTES", "data": ["a", "b", "c", "d"]}, "inputs[0].data[1]", "the text 'b'"),
        ({"shape": [2, True]}, "inputs[0].shape", "whole numbers"),
        ({"data": None}, "inputs[0].data", "found null, expected a list"),
        ({"name": 1}, "inputs[0].name", "expected text"),
        ({"parameters": {"binary_data_size": 4}}, "inputs[0].parameters.binary_data_size", "up to 0"),
        ({"parameters": []}, "inputs[0].parameters", "an object"),
    ],
)
def test_each_mistake_in_json_has_its_place(
    running: object, fields: dict[str, object], place: str, words: str
) -> None:
    """JSON has the same checks, its data flat or exactly in the form of the shape."""
    reply = infer(running, **fields)
    found = {each["field"]: each["description"] for each in reply.json()["violations"]}
    assert (reply.status_code, isinstance(reply.json()["error"], str)) == (400, True)
    assert words in found[place]


@pytest.mark.parametrize("number", [b"NaN", b"-NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_has_not_are_named(running: object, number: bytes) -> None:
    """The words that Python writes for nan and infinity are refused as what they are."""
    body = (
        b'{"inputs": [{"name": "\xc3\xa9", "datatype": "FP32", "shape": [1, 1], "data": [' + number + b"]}]}"
    )
    (violation,) = running.http.post("/v2/models/iris/infer", content=body).json()["violations"]
    assert violation["field"] == "body"
    assert "nan or infinity" in violation["description"]


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({"Inference-Header-Content-Length": "9" * 5000}, "Inference-Header-Content-Length"),
        ({"Inference-Header-Content-Length": "-1"}, "Inference-Header-Content-Length"),
        ({"Inference-Header-Content-Length": "0"}, "body"),
        ({"Content-Encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_headers_are_checked(running: object, headers: dict[str, str], place: str) -> None:
    """A header that the body does not bear out is refused by its name."""
    reply = infer(running, headers)
    assert (reply.status_code, reply.json()["violations"][0]["field"]) == (400, place)
