"""The Open Inference Protocol over gRPC and HTTP, against a real server and scikit-learn's idea of the answer."""

import json
import struct

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from protos.inference.v1 import inference_pb2
from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32)
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
TOKEN = "a-token"


def stub_of(running: object) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(running.channel)


def table(datatype: str = "FP32", **contents: object) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="iris", id="call-7")
    tensor = request.inputs.add(name="anything", datatype=datatype, shape=[2, 4])
    if contents:
        tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    return request


def labels_of(running: object) -> list[str]:
    answer = running.stub.Predict(
        inference_pb2.PredictRequest(rows=[inference_pb2.Row(values=row) for row in ROWS]), timeout=5
    )
    return [prediction.label for prediction in answer.predictions]


def violations_of(running: object, request: pb.ModelInferRequest) -> dict[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub_of(running).ModelInfer(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(details)
    return {violation.field: violation.description for violation in details.field_violations}


def test_typed_contents_are_answered_by_typed_contents(running: object) -> None:
    """Typed in, typed out; the id comes back, and the version that really answered."""
    answer = stub_of(running).ModelInfer(table(fp32_contents=ROWS.ravel().tolist()), timeout=5)
    assert (answer.id, answer.model_name, answer.model_version) == ("call-7", "iris", "local")
    assert answer.parameters["event_id"].string_param
    label, shares = answer.outputs
    assert [text.decode() for text in label.contents.bytes_contents] == labels_of(running)
    assert (shares.name, shares.datatype, list(shares.shape)) == ("probabilities", "FP32", [2, 3])
    assert np.allclose(np.reshape(shares.contents.fp32_contents, (2, 3)).sum(axis=1), 1, atol=1e-5)


def test_raw_contents_are_answered_by_raw_contents(running: object) -> None:
    """Raw in, raw out, with the same numbers as typed."""
    request = table()
    request.raw_input_contents.append(ROWS.tobytes())
    answer = stub_of(running).ModelInfer(request, timeout=5)
    typed = stub_of(running).ModelInfer(table(fp32_contents=ROWS.ravel().tolist()), timeout=5)
    label, shares = answer.raw_output_contents
    texts = labels_of(running)
    assert label == b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    assert np.frombuffer(shares, "<f4").tolist() == pytest.approx([*typed.outputs[1].contents.fp32_contents])


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT32", "BF16"])
def test_every_datatype_of_numbers_is_taken(running: object, datatype: str) -> None:
    """Whole numbers that every datatype can hold give the same labels in all of them."""
    whole = np.array([[5, 3, 1, 0], [6, 3, 6, 2]])
    request = table(datatype)
    code = {
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        "INT8": "<i1",
        "INT64": "<i8",
        "UINT8": "<u1",
        "UINT32": "<u4",
    }
    raw = (
        (whole.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        if datatype == "BF16"
        else whole.astype(code[datatype]).tobytes()
    )
    request.raw_input_contents.append(raw)
    expected = running.stub.Predict(
        inference_pb2.PredictRequest(rows=[inference_pb2.Row(values=row) for row in whole]), timeout=5
    )
    answer = stub_of(running).ModelInfer(request, timeout=5)
    shares = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(2, 3)
    assert shares.argmax(axis=1).tolist() == [p.class_index for p in expected.predictions]


def test_one_tensor_a_feature_in_any_order(running: object) -> None:
    """Features may come as tensors of their own, each of its own datatype."""
    request = pb.ModelInferRequest(model_name="iris")
    for column in (3, 1, 0, 2):
        tensor = request.inputs.add(name=FEATURES[column], datatype="FP64", shape=[2, 1])
        tensor.contents.fp64_contents.extend(ROWS[:, column].astype(float).tolist())
    answer = stub_of(running).ModelInfer(request, timeout=5)
    assert [text.decode() for text in answer.outputs[0].contents.bytes_contents] == labels_of(running)


def test_only_outputs_that_are_asked_for_come_back(running: object) -> None:
    """Outputs come in the order of the request; one that does not exist is named with those that do."""
    request = table(fp32_contents=ROWS.ravel().tolist())
    request.outputs.add(name="label")
    answer = stub_of(running).ModelInfer(request, timeout=5)
    assert [output.name for output in answer.outputs] == ["label"]
    request.outputs.add(name="nope")
    found = violations_of(running, request)
    assert "label, probabilities" in found["outputs[1].name"]


def test_what_is_wrong_with_a_tensor_is_named(running: object) -> None:
    """Datatype, shape, number of elements, bytes, values: each violation says where and what."""
    values = ROWS.ravel().tolist()
    assert "FP32" in violations_of(running, table("BOGUS", fp32_contents=values))["inputs[0].datatype"]
    (short_of,) = violations_of(running, table(fp32_contents=values[:7])).values()
    assert "found 7 elements, expected 8" in short_of
    huge = table(fp32_contents=values)
    huge.inputs[0].shape[:] = [2**62, 2**62]
    assert "inputs[0].shape" in violations_of(running, huge)
    negative = table(fp32_contents=values)
    negative.inputs[0].shape[:] = [-1, 4]
    assert "inputs[0].shape" in violations_of(running, negative)
    short = table()
    short.raw_input_contents.append(b"12")
    assert "32" in violations_of(running, short)["raw_input_contents[0]"]
    both = table(fp32_contents=values)
    both.raw_input_contents.append(ROWS.tobytes())
    assert violations_of(running, both)
    small = violations_of(running, table("INT8", int_contents=[300, 1, 1, 1, 1, 1, 1, 1]))
    assert "-128 to 127" in small["inputs[0].contents.int_contents[0]"]
    not_finite = table(fp32_contents=[float("nan"), *values[1:]])
    assert "finite" in violations_of(running, not_finite)["inputs[0].contents.fp32_contents[0]"]
    texts = violations_of(running, table("BYTES", bytes_contents=[b"x"] * 8))
    assert "expected a number" in texts["inputs[0].contents.bytes_contents[0]"]


def test_regression_gives_values(make_service: object, make_bundle: object) -> None:
    """A regressor has one output, `value`."""
    running = make_service(make_bundle(regression=True))
    answer = stub_of(running).ModelInfer(table(fp32_contents=ROWS.ravel().tolist()), timeout=5)
    (value,) = answer.outputs
    assert (value.name, value.datatype, list(value.shape)) == ("value", "FP64", [2])
    assert len(value.contents.fp64_contents) == 2


def test_both_dialects_of_the_repository(make_service: object) -> None:
    """KServe writes the model's name where Triton writes the repository's; both load and unload."""
    running = make_service(admin_api_token=TOKEN)
    stub = stub_of(running)
    metadata = (("x-admin-token", TOKEN),)
    for request in (
        pb.RepositoryModelUnloadRequest(model_name="iris"),
        pb.RepositoryModelUnloadRequest(repository_name="iris"),  # KServe's field 1
    ):
        assert stub.RepositoryModelUnload(request, timeout=30, metadata=metadata).isUnloaded
        (entry,) = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5).models
        assert (entry.name, entry.state, entry.reason) == ("iris", "UNAVAILABLE", "unloaded")
        assert not stub.ModelReady(pb.ModelReadyRequest(name="iris"), timeout=5).ready
        load = pb.RepositoryModelLoadRequest(model_name="iris")
        assert stub.RepositoryModelLoad(load, timeout=30, metadata=metadata).isLoaded
        (entry,) = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=5).models
        assert entry.state == "READY"


@pytest.mark.parametrize(("token", "code"), [(None, "PERMISSION_DENIED"), (TOKEN, "UNAUTHENTICATED")])
def test_the_repository_asks_for_the_admin_token(make_service: object, token: str | None, code: str) -> None:
    """Without a token on the server nobody may load; with one, nobody without it."""
    running = make_service(**({"admin_api_token": token} if token else {}))
    with pytest.raises(grpc.RpcError) as caught:
        stub_of(running).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="iris"), timeout=5)
    assert caught.value.code().name == code


def test_http_answers_json_and_the_binary_extension(running: object) -> None:
    """The same request as JSON, nested or flat, and as bytes after the JSON gives the same outputs."""
    texts = labels_of(running)
    tensor = {"name": "input", "datatype": "FP32", "shape": [2, 4]}
    for data in (ROWS.tolist(), ROWS.ravel().tolist()):
        reply = running.http.post(
            "/v2/models/iris/infer", json={"id": "a", "inputs": [{**tensor, "data": data}]}
        )
        content = reply.json()
        assert (reply.status_code, content["id"], content["outputs"][0]["data"]) == (200, "a", texts)
    head = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": 32}}],
        "parameters": {"binary_data_output": True},
    }
    encoded = json.dumps(head).encode()
    reply = running.http.post(
        "/v2/models/iris/versions/local/infer/",
        content=encoded + ROWS.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(encoded))},
    )
    length = int(reply.headers["inference-header-content-length"])
    written = json.loads(reply.content[:length])["outputs"]
    label_bytes = written[0]["parameters"]["binary_data_size"]
    shares = np.frombuffer(reply.content[length + label_bytes :], "<f4").reshape(2, 3)
    assert written[1]["name"] == "probabilities"
    assert [("setosa", "versicolor", "virginica")[index] for index in shares.argmax(axis=1)] == texts


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"inputs": 3}', "inputs"),
        (
            b'{"inputs": [{"name": "i", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, null, 4]}]}',
            "inputs[0].data[2]",
        ),
        (
            b'{"inputs": [{"name": "i", "datatype": "INT8", "shape": [1, 4], "data": [1, 2, 300, 4]}]}',
            "inputs[0].data[2]",
        ),
        (
            b'{"inputs": [{"name": "i", "datatype": "FP32", "shape": [1, 4], "data": [1, 2]}]}',
            "inputs[0].data",
        ),
        (
            b'{"inputs": [{"name": "i", "datatype": "FP32", "shape": [1, "4"], "data": [1]}]}',
            "inputs[0].shape",
        ),
        (
            b'{"inputs": [{"name": "i", "datatype": "FP32", "shape": [1, 4], "data": [[[1, 2, 3, 4]]]}]}',
            "inputs[0].data",
        ),
    ],
)
def test_http_says_what_is_wrong(running: object, body: bytes, field: str) -> None:
    """A bad request is 400 with the protocol's `error` as text, and our violations beside it."""
    reply = running.http.post("/v2/models/iris/infer", content=body)
    content = reply.json()
    assert (reply.status_code, type(content["error"])) == (400, str)
    assert content["violations"][0]["field"] == field


def test_http_describes_server_and_models(running: object) -> None:
    """Liveness, readiness, metadata and the index, with and without a slash at the end."""
    http: httpx.Client = running.http
    assert http.get("/v2/").json()["name"] == "coalmine"
    assert http.get("/v2/health/ready").json() == {"ready": True}
    model = http.get("/v2/models/iris").json()
    assert model["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in model["outputs"]] == ["label", "probabilities"]
    assert http.get("/v2/models/nope").status_code == 404
    assert http.get("/v2/models/iris/ready/").json()["ready"] is True
    assert http.post("/v2/repository/index").json()[0]["state"] == "READY"
    assert http.post("/v2/repository/models/iris/load").status_code == 403
