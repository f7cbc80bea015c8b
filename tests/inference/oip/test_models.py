"""Models, versions and the repository of the Open Inference Protocol, as clients that nobody changed see them."""

import socket

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from inference.errors import PermissionDeniedError
from inference.oip import FixedModels
from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub

SERVICE = "inference.GRPCInferenceService"
CLASSES = ("setosa", "versicolor", "virginica")
TOKEN = "a-token"
ADMIN = (("authorization", f"Bearer {TOKEN}"),)
HTTP_ADMIN = {"X-Admin-Token": TOKEN}


def stub_of(running: object) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(running.channel)


def request_of(rows: np.ndarray, version: str = "") -> pb.ModelInferRequest:
    raw = rows.astype("<f4").tobytes()
    request = pb.ModelInferRequest(model_name="iris", model_version=version, raw_input_contents=[raw])
    request.inputs.add(name="input", datatype="FP32", shape=rows.shape)
    return request


def test_answers_are_those_of_scikit_learn(running: object) -> None:
    """Labels and probabilities are those of the estimator that the bundle was made of."""
    rows, target = load_iris(return_X_y=True)
    model = RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0).fit(rows, target)
    answer = stub_of(running).ModelInfer(request_of(rows), timeout=5)
    shares = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(150, 3)
    np.testing.assert_allclose(shares, model.predict_proba(rows), atol=1e-5)
    reply = running.http.post(
        "/v2/models/iris/infer",
        json={"inputs": [{"name": "a", "datatype": "FP64", "shape": [150, 4], "data": rows.tolist()}]},
    )
    assert reply.json()["outputs"][0]["data"] == [CLASSES[index] for index in model.predict(rows)]


def test_values_are_those_of_scikit_learn(make_service: object, make_bundle: object) -> None:
    """So are the values of a regressor, raw and as JSON."""
    rows, target = load_iris(return_X_y=True)
    model = RandomForestRegressor(n_estimators=5, max_depth=4, random_state=0).fit(rows, target)
    running = make_service(make_bundle(regression=True, accuracy=None))
    answer = stub_of(running).ModelInfer(request_of(rows), timeout=5)
    values = np.frombuffer(answer.raw_output_contents[0], "<f8")
    np.testing.assert_allclose(values, model.predict(rows.astype(np.float32)), atol=1e-5)
    described = running.http.get("/v2/models/iris").json()
    assert described["outputs"] == [{"name": "value", "datatype": "FP64", "shape": [-1]}]


def test_metadata_say_what_a_model_takes(running: object) -> None:
    """Inputs, outputs, versions, platform, and the facts that the protocol has no field for."""
    model = stub_of(running).ModelMetadata(pb.ModelMetadataRequest(name="iris"), timeout=5)
    assert (model.name, [*model.versions], model.platform) == ("iris", ["local"], "coalmine_onnx")
    (table,) = model.inputs
    assert (table.name, table.datatype, [*table.shape]) == ("input", "FP32", [-1, 4])
    assert [(each.name, each.datatype, [*each.shape]) for each in model.outputs] == [
        ("label", "BYTES", [-1]),
        ("probabilities", "FP32", [-1, 3]),
    ]
    facts = dict(model.properties)
    assert facts["classes"] == '["setosa","versicolor","virginica"]'
    assert (facts["task"], facts["track"], len(facts["digest"])) == ("classification", "stable", 64)
    server = stub_of(running).ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    assert (server.name, "model_repository" in server.extensions) == ("coalmine", True)
    assert server.version


@pytest.mark.parametrize(("name", "version"), [("nope", ""), ("iris", "99"), ("nope", "local")])
def test_unknown_models_and_versions_are_not_found(running: object, name: str, version: str) -> None:
    """Ready, metadata and infer say NOT_FOUND, and 404, of what this server does not hold."""
    stub, path = stub_of(running), f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
    infer = request_of(np.ones((1, 4)), version)
    infer.model_name = name
    for call, request in (
        (stub.ModelReady, pb.ModelReadyRequest(name=name, version=version)),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name=name, version=version)),
        (stub.ModelInfer, infer),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "iris version local" in caught.value.details()
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    for reply in (
        running.http.get(path),
        running.http.get(f"{path}/ready"),
        running.http.post(f"{path}/infer", json=body),
    ):
        assert (reply.status_code, "iris version local" in reply.json()["error"]) == (404, True)


def test_before_the_model_nothing_is_ready(make_service: object) -> None:
    """The process is live; server and model are not ready, and infer is UNAVAILABLE, until the model is loaded."""
    running = make_service(load=False)
    stub = stub_of(running)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="iris"), timeout=5).ready
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_of(np.ones((1, 4))), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert running.http.get("/v2/health/live").json() == {"live": True}
    assert running.http.get("/v2/health/ready/").status_code == 503
    running.service.load()
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="iris", version="local"), timeout=5).ready


def test_health_and_reflection_know_the_service(running: object) -> None:
    """grpc.health.v1 answers for the service by its full name, and reflection lists it."""
    health = health_pb2_grpc.HealthStub(running.channel)
    status = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5).status
    assert status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (reply,) = reflection.ServerReflectionInfo(iter([request]), timeout=5)
    assert SERVICE in {service.name for service in reply.list_services_response.service}


def test_bytes_of_either_dialect_load_and_unload(make_service: object) -> None:
    """Messages as KServe's and Triton's own stubs write them do the same, and KServe's stub reads the answer."""
    running = make_service(admin_api_token=TOKEN)
    iris = b"\x04iris"
    triton, kserve = b"\x12" + iris, b"\x0a" + iris  # field 2, and field 1
    both = b"\x0a\x01r" + triton
    for message in (kserve, triton, both):
        for method, ready in (("Unload", False), ("Load", True)):
            call = running.channel.unary_unary(f"/{SERVICE}/RepositoryModel{method}")
            # KServe's answer: field 1 is the name, field 2 whether it was done. Triton's clients read nothing of it.
            assert call(message, timeout=30, metadata=ADMIN) == kserve + b"\x10\x01"
            found = stub_of(running).ModelReady(pb.ModelReadyRequest(name="iris"), timeout=5).ready
            assert found is ready


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (pb.RepositoryModelLoadRequest(), "INVALID_ARGUMENT", "model_name"),
        (pb.RepositoryModelLoadRequest(model_name="nope"), "NOT_FOUND", "this server holds iris"),
        (
            pb.RepositoryModelLoadRequest(
                model_name="iris", parameters={"config": pb.ModelRepositoryParameter(string_param="{}")}
            ),
            "INVALID_ARGUMENT",
            "parameters.config",
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    make_service: object, request_: pb.RepositoryModelLoadRequest, code: str, words: str
) -> None:
    """No name, an unknown one, and a configuration that would be ignored."""
    running = make_service(admin_api_token=TOKEN)
    with pytest.raises(grpc.RpcError) as caught:
        stub_of(running).RepositoryModelLoad(request_, timeout=5, metadata=ADMIN)
    assert (caught.value.code().name, words in caught.value.details()) == (code, True)


def test_the_repository_over_http(make_service: object) -> None:
    """Index with its filter, load and unload with the parameters that Triton's client sends, and their refusals."""
    http: httpx.Client = make_service(admin_api_token=TOKEN).http

    def post(path: str, content: object = None) -> httpx.Response:
        return http.post(f"/v2/repository/{path}", json=content, headers=HTTP_ADMIN)

    assert post("models/iris/unload/", {"parameters": {"unload_dependents": False}}).status_code == 200
    assert post("index", {"ready": True}).json() == []
    (entry,) = post("index").json()
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
    assert http.get("/v2/models/iris/ready").json() == {"name": "iris", "ready": False}
    refused = post("models/iris/load", {"parameters": {"config": "{}"}})
    assert (refused.status_code, refused.json()["violations"][0]["field"]) == (400, "parameters.config")
    assert post("models/nope/load").status_code == 404
    for body in ([], {"ready": 1}, {"parameters": []}):
        assert post("index", body).status_code == 400
    assert http.post("/v2/repository/index", content=b"{").status_code == 400
    assert post("index", {"ready": "x" * 20000}).status_code == 413
    assert post("models/iris/load").status_code == 200
    assert post("index", {"ready": True}).json()[0]["state"] == "READY"
    shown = http.post("/v2/repository/models/iris/load")
    assert (shown.status_code, shown.headers["www-authenticate"]) == (401, "Bearer")


def test_errors_below_v2_are_text(running: object) -> None:
    """Paths and methods that are not there have the protocol's form of an error too."""
    for reply, status in ((running.http.get("/v2/nope"), 404), (running.http.put("/v2"), 405)):
        assert (reply.status_code, isinstance(reply.json()["error"], str)) == (status, True)


def test_only_predictions_and_descriptions_want_the_token(make_service: object) -> None:
    """With PREDICT_API_TOKEN, infer, metadata and index ask for it; whether something is ready, anybody may ask."""
    running = make_service(predict_api_token=TOKEN)
    stub = stub_of(running)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    assert stub.ModelReady(pb.ModelReadyRequest(name="iris"), timeout=5).ready
    for call, request in (
        (stub.ModelInfer, request_of(np.ones((1, 4)))),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="iris")),
        (stub.ServerMetadata, pb.ServerMetadataRequest()),
        (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        call(request, timeout=5, metadata=ADMIN)
    assert running.http.get("/v2/models/iris").status_code == 401
    assert running.http.get("/v2/models/iris/ready").status_code == 200


def test_requests_are_counted_and_traced_to_their_caller(make_service: object) -> None:
    """ModelInfer has its own method label, its request id comes back, and a replay is marked in its event."""
    running = make_service()
    metadata = (("x-request-id", "oip-1"), ("x-shadow-request", "true"))
    answer, call = stub_of(running).ModelInfer.with_call(
        request_of(np.ones((1, 4))), timeout=5, metadata=metadata
    )
    assert dict(call.trailing_metadata())["x-request-id"] == "oip-1"
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    reply = running.http.post("/v2/models/iris/infer", json=body, headers={"x-request-id": "oip-2"})
    assert (reply.headers["x-request-id"], reply.headers["x-model-version"]) == ("oip-2", "local")
    first, second = running.events(2)
    assert (first["correlation_id"], second["correlation_id"]) == ("oip-1", "oip-2")
    assert answer.parameters["event_id"].string_param in first["message"]
    assert ('"shadow":true' in first["message"], '"shadow":true' in second["message"]) == (True, False)
    assert 'ml_request_count_total{code="OK",method="ModelInfer",track="stable"} 2.0' in running.metrics()


def test_loads_leave_the_threads_of_readiness_alone(make_service: object) -> None:
    """While many loads wait for their turn, readiness is answered at once."""
    running = make_service(admin_api_token=TOKEN)
    stub, turn = stub_of(running), running.service._one_at_a_time
    with turn:
        loads = [
            stub.RepositoryModelLoad.future(
                pb.RepositoryModelLoadRequest(model_name="iris"), timeout=30, metadata=ADMIN
            )
            for _ in range(4)
        ]
        assert stub.ModelReady(pb.ModelReadyRequest(name="iris"), timeout=5).ready
        assert stub.ModelInfer(request_of(np.ones((1, 4))), timeout=5).outputs
        assert not any(load.done() for load in loads)
    assert all(load.result(timeout=30).isLoaded for load in loads)


def test_a_worker_lists_models_and_changes_none(running: object) -> None:
    """A process that is told what to serve says where to ask for changes instead."""
    fixed = FixedModels(running.service.catalog)
    (entry,) = fixed.index()
    assert (entry.name, entry.version, entry.state) == ("iris", "local", "READY")
    for change in (fixed.load, fixed.unload):
        with pytest.raises(PermissionDeniedError, match="POST /v2/repository"):
            change("iris")


def test_a_length_of_many_digits_is_no_defect(running: object) -> None:
    """A Content-Length that Python makes no number of is refused as any other wrong one."""
    head = f"POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {'9' * 5000}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.service.http_port), 5) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert b" 400 " in answer.split(b"\r\n")[0] or b" 413 " in answer.split(b"\r\n")[0]
