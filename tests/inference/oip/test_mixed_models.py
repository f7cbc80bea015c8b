"""The Open Inference Protocol for a model of texts, numbers and missing values."""

import json
import math
import struct

import grpc
import numpy as np
import pandas as pd
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from inference.conform.command import main as conform
from inference.oip.description import inputs_of
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import ModelManifest
from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.inference.mixed_models import COLUMNS, NAMES, ROWS, mixed_pipeline
from training.data.columns import encode_rows

FRAME = pd.DataFrame(ROWS, columns=NAMES)
CODES = encode_rows(FRAME, COLUMNS)
BOUND = 1e-5
#: The rows of `ROWS` by feature; over gRPC an empty text and nan are what is missing.
TEXTS = {"plan": [b"basic", b"", "zażółć".encode(), b""], "region": [b"north", b"south", b"1", b"north"]}
NUMBERS = {"age": [31.5, 64.0, math.nan, math.nan], "visits": [14, 0, 12, 7]}


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return mixed_pipeline().predict_proba(FRAME)


def by_feature(*, raw: bool) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="churn")
    for name, texts in TEXTS.items():
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[4])
        if raw:
            request.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            tensor.contents.bytes_contents.extend(texts)
    for name, datatype, field in (("age", "FP32", "fp32_contents"), ("visits", "INT64", "int64_contents")):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[4, 1])
        if raw:
            dtype = {"FP32": "<f4", "INT64": "<i8"}[datatype]
            request.raw_input_contents.append(np.array(NUMBERS[name], dtype).tobytes())
        else:
            getattr(tensor.contents, field).extend(NUMBERS[name])
    return request


def infer(running: object, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    return GRPCInferenceServiceStub(running.channel).ModelInfer(request, timeout=5)


def refused(running: object, request: pb.ModelInferRequest) -> dict[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        infer(running, request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(details)
    return {violation.field: violation.description for violation in details.field_violations}


def shares_of(answer: pb.ModelInferResponse) -> np.ndarray:
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(-1, 2)
    return np.reshape(answer.outputs[1].contents.fp32_contents, (-1, 2))


def test_metadata_have_an_input_for_each_feature(mixed: object) -> None:
    """BYTES for texts, INT64 for whole numbers that are always there, FP32 for what has a nan; the texts are listed."""
    metadata = GRPCInferenceServiceStub(mixed.channel).ModelMetadata(pb.ModelMetadataRequest(name="churn"))
    inputs = [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs]
    assert inputs == [
        *(
            ("plan", "BYTES", [-1]),
            ("region", "BYTES", [-1]),
            ("age", "FP32", [-1]),
            ("visits", "INT64", [-1]),
        )
    ]
    known = {"plan": ["basic", "plus", "zażółć"], "region": ["north", "south", "1"]}
    assert json.loads(metadata.properties["categories"]) == known
    told = mixed.http.get("/v2/models/churn").json()
    assert [each["datatype"] for each in told["inputs"]] == ["BYTES", "BYTES", "FP32", "INT64"]


def test_metadata_of_numbers_stay_one_matrix(running: object) -> None:
    """Features that may be missing are nan in the one matrix, so nothing changes for models of numbers."""
    manifest = ModelManifest()
    manifest.features.add(name="a", type=1, nullable=True)
    assert inputs_of(Signature(manifest)) == (("input", "FP32", (-1, 1)),)
    metadata = GRPCInferenceServiceStub(running.channel).ModelMetadata(pb.ModelMetadataRequest(name="iris"))
    assert "categories" not in metadata.properties
    assert [list(each.shape) for each in metadata.inputs] == [[-1, 4]]


@pytest.mark.parametrize("raw", [False, True])
def test_a_tensor_for_each_feature(mixed: object, expected: np.ndarray, raw: bool) -> None:
    """Texts and numbers, typed and raw, in any order; an empty text is missing where that may be."""
    request = by_feature(raw=raw)
    np.testing.assert_allclose(shares_of(infer(mixed, request)), expected, atol=BOUND)
    if not raw:
        turned = [*request.inputs][::-1]
        del request.inputs[:]
        request.inputs.extend(turned)
        np.testing.assert_allclose(shares_of(infer(mixed, request)), expected, atol=BOUND)


def test_one_tensor_of_codes(mixed: object, expected: np.ndarray) -> None:
    """Numbers alone in the order of the model, nan for what is missing."""
    request = pb.ModelInferRequest(model_name="churn", raw_input_contents=[CODES.tobytes()])
    request.inputs.add(name="codes", datatype="FP32", shape=[4, 4])
    np.testing.assert_allclose(shares_of(infer(mixed, request)), expected, atol=BOUND)


def test_json_has_null_for_what_is_missing(mixed: object, expected: np.ndarray) -> None:
    """In lists of either form."""
    columns = zip(*ROWS, strict=True)
    inputs = [
        {"name": name, "datatype": datatype, "shape": [4], "data": column}
        for name, datatype, column in zip(NAMES, ("BYTES", "BYTES", "FP32", "INT64"), columns, strict=True)
    ]
    codes = [[None if math.isnan(code) else code for code in row] for row in CODES.tolist()]
    table = [{"name": "x", "datatype": "FP32", "shape": [4, 4], "data": codes}]
    for body in ({"inputs": inputs}, {"inputs": table}):
        reply = mixed.http.post("/v2/models/churn/infer", json=body)
        assert reply.status_code == 200, reply.text
        shares = np.reshape(reply.json()["outputs"][1]["data"], (4, 2))
        np.testing.assert_allclose(shares, expected, atol=BOUND)


def test_binary_data_of_http(mixed: object, expected: np.ndarray) -> None:
    """Texts after their lengths and numbers, as bytes after the JSON."""
    request = by_feature(raw=True)
    inputs = [
        {
            "name": each.name,
            "datatype": each.datatype,
            "shape": list(each.shape),
            "parameters": {"binary_data_size": len(content)},
        }
        for each, content in zip(request.inputs, request.raw_input_contents, strict=True)
    ]
    header = json.dumps({"inputs": inputs}).encode()
    reply = mixed.http.post(
        "/v2/models/churn/infer",
        content=header + b"".join(request.raw_input_contents),
        headers={"inference-header-content-length": str(len(header))},
    )
    assert reply.status_code == 200, reply.text
    np.testing.assert_allclose(np.reshape(reply.json()["outputs"][1]["data"], (4, 2)), expected, atol=BOUND)


@pytest.mark.parametrize("text", [b"west", b"", b"\0", b"\xff", b"x" * 1_000_000])
def test_a_text_that_is_none_of_the_categories(mixed: object, text: bytes) -> None:
    """The place in the caller's form, a little of the text, and the texts that would do; bytes that are no text too."""
    typed, raw = by_feature(raw=False), by_feature(raw=True)
    typed.inputs[1].contents.bytes_contents[2] = text
    texts = [*TEXTS["region"][:2], text, TEXTS["region"][3]]
    raw.raw_input_contents[1] = b"".join(struct.pack("<I", len(each)) + each for each in texts)
    for request, place in (
        (typed, "inputs[1].contents.bytes_contents[2]"),
        (raw, "raw_input_contents[1][2]"),
    ):
        ((field, sentence),) = refused(mixed, request).items()
        assert field == place
        assert sentence.endswith(", expected one of 'north', 'south', '1' (feature region)")
        assert len(sentence) < 200


def test_numbers_are_no_texts_and_texts_no_numbers(mixed: object) -> None:
    """An input of the wrong datatype is refused: the number 1 and the category "1" are not the same."""
    request = by_feature(raw=False)
    for place, datatype in ((1, "INT64"), (2, "BYTES")):
        request.inputs[place].datatype = datatype
        request.inputs[place].ClearField("contents")
    request.inputs[1].contents.int64_contents.extend([1] * 4)
    request.inputs[2].contents.bytes_contents.extend([b"1"] * 4)
    found = refused(mixed, request)
    assert found["inputs[1].datatype"] == "found numbers, expected BYTES, the texts of the feature 'region'"
    assert "found the text '1', expected a number" in found["inputs[2].contents.bytes_contents[0]"]


def test_wrong_codes_and_missing_numbers_are_refused(mixed: object) -> None:
    """A code that is none, and nan or null where nothing may be missing."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [3, None, 1e39, None]}]}
    reply = mixed.http.post("/v2/models/churn/infer", json=body)
    assert reply.status_code == 400
    assert {each["field"] for each in reply.json()["violations"]} == {
        f"inputs[0].data[{n}]" for n in range(4)
    }


def test_null_is_called_null(mixed: object) -> None:
    """Where nothing may be missing, a table of JSON is told of the null that it has and of no nan."""
    data = [[0, None, 30.5, 1], [None, 0, None, None]]
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": data}]}
    reply = mixed.http.post("/v2/models/churn/infer", json=body)
    assert {each["field"]: each["description"] for each in reply.json()["violations"]} == {
        "inputs[0].data[0][1]": "found null, expected the code of a category, a whole number from 0 to 2 "
        "(feature region)",
        "inputs[0].data[1][3]": "found null, expected a finite number (feature visits)",
    }


def test_the_examination_passes(mixed: object, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m inference conform` learns the texts from the metadata and finds nothing wrong."""
    url = f"http://127.0.0.1:{mixed.service.http_port}"
    assert conform([mixed.address, "--http", url, "--model", "churn"]) == 0
    assert " 0 failed" in capsys.readouterr().out
