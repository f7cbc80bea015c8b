"""The gRPC service, over a real server with a real model."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.client import InvalidRequestError, PredictionClient
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.event_pb2 import PredictionEvent

ROWS = np.random.default_rng(0).uniform(0, 8, (50, 4)).astype(np.float32)
SERVICE = "inference.v1.InferenceService"


def _expected(bundle: Path, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession((bundle / "model.onnx").read_bytes())
    return session.run(["probabilities"], {"input": rows})[0]


def _error(running: object, request: pb.PredictRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(request, timeout=5)
    return caught.value


def _violations(error: grpc.RpcError) -> dict[str, str]:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(error).details[0].Unpack(details)
    return {violation.field: violation.description for violation in details.field_violations}


def test_bytes_that_are_no_message_are_named(running: object) -> None:
    """Bytes that cannot be parsed are the caller's mistake, in a sentence with a place."""
    with pytest.raises(grpc.RpcError) as caught:
        running.channel.unary_unary(f"/{SERVICE}/Predict")(b"\xff\xff\xff", timeout=5)
    assert caught.value.details() == "message: found 3 bytes that are not the message of this method"
    assert _violations(caught.value).keys() == {"message"}


def test_rows_are_answered_one_by_one(running: object, bundle: Path) -> None:
    """The rows form gives one prediction a row, in order, with label, index and probabilities."""
    request = pb.PredictRequest(rows=[pb.Row(values=row) for row in ROWS.tolist()])
    response = running.stub.Predict(request, timeout=5)
    expected = _expected(bundle, ROWS)
    assert [p.class_index for p in response.predictions] == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose([list(p.probabilities) for p in response.predictions], expected)
    labels = ("setosa", "versicolor", "virginica")
    assert all(p.label == labels[p.class_index] for p in response.predictions)
    assert not response.HasField("columns")
    assert (response.model_name, response.model_version) == ("iris", "local")
    assert len(response.model_digest) == 64


@pytest.mark.parametrize("form", ["values", "float32_values"])
def test_a_tensor_is_answered_by_columns(running: object, bundle: Path, form: str) -> None:
    """Both ways to fill a tensor give the same columns."""
    numbers = ROWS.astype("<f4").tobytes() if form == "float32_values" else ROWS.ravel().tolist()
    tensor = pb.RowTensor(row_count=50, column_count=4, **{form: numbers})
    response = running.stub.Predict(pb.PredictRequest(tensor=tensor), timeout=5)
    expected = _expected(bundle, ROWS)
    columns = response.columns
    assert list(columns.class_index) == expected.argmax(axis=1).tolist()
    assert list(columns.classes) == ["setosa", "versicolor", "virginica"]
    np.testing.assert_allclose(np.reshape(columns.probabilities, (50, 3)), expected)
    assert not response.predictions


def test_named_columns_may_come_in_any_order(running: object) -> None:
    """The same numbers under their names give the same answer in any order."""
    names = ["petal_width", "sepal_length", "petal_length", "sepal_width"]
    request = pb.PredictRequest(rows=[pb.Row(values=[0.2, 5.1, 1.4, 3.5])], feature_names=names)
    plain = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
    named = running.stub.Predict(request, timeout=5)
    assert named.predictions == running.stub.Predict(plain, timeout=5).predictions


def test_regression_gives_values(make_service: object, make_bundle: object) -> None:
    """A regression model answers by values in both forms."""
    running = make_service(make_bundle(regression=True, accuracy=None))
    rows = running.stub.Predict(pb.PredictRequest(rows=[pb.Row(values=ROWS[0].tolist())]), timeout=5)
    tensor = pb.RowTensor(row_count=1, column_count=4, values=ROWS[0].tolist())
    columns = running.stub.Predict(pb.PredictRequest(tensor=tensor), timeout=5).columns
    assert rows.predictions[0].HasField("value")
    assert list(columns.values) == [rows.predictions[0].value]
    assert list(columns.classes) == []
    assert "ml_model_accuracy NaN" in running.metrics()
    assert 'ml_predictions_total{label=""} 2.0' in running.metrics()
    with PredictionClient(running.address) as client:
        assert client.predict(ROWS[:1].tolist()).values == (rows.predictions[0].value,)
    assert running.http.post("/predict", json={"rows": ROWS[:1].tolist()}).json()["predictions"] == [
        {"value": rows.predictions[0].value}
    ]


def test_violations_name_row_and_column(running: object) -> None:
    """A bad request is told every place, as google.rpc.BadRequest."""
    rows = [pb.Row(values=[1, 2, 3, 4]), pb.Row(values=[1, math.nan, 3, 4]), pb.Row(values=[1])]
    assert _violations(_error(running, pb.PredictRequest(rows=rows))) == {
        "rows[1].values[1]": "found nan, expected a finite number (feature sepal_width)",
        "rows[2]": "found 1 values, expected 4",
    }


@pytest.mark.parametrize(
    ("tensor", "place"),
    [
        (pb.RowTensor(row_count=0, column_count=4), "tensor.row_count"),
        (pb.RowTensor(row_count=-1, column_count=4), "tensor.row_count"),
        (pb.RowTensor(row_count=1, column_count=3, values=[1, 2, 3]), "tensor.column_count"),
        (pb.RowTensor(row_count=2, column_count=4, values=[1, 2, 3]), "tensor.values"),
        (pb.RowTensor(row_count=1, column_count=4, float32_values=b"abc"), "tensor.float32_values"),
        (
            pb.RowTensor(row_count=1, column_count=4, values=[1] * 4, float32_values=b"\0" * 16),
            "tensor",
        ),
        (pb.RowTensor(row_count=2, column_count=4, values=[1] * 6 + [math.inf, 1]), "tensor.values[6]"),
        (
            pb.RowTensor(
                row_count=1, column_count=4, float32_values=np.array([1, 1, 1, np.nan], "<f4").tobytes()
            ),
            "tensor.float32_values[3]",
        ),
        (pb.RowTensor(row_count=65536, column_count=2**31 - 1), "tensor.values"),
    ],
)
def test_tensor_shapes_are_checked(running: object, tensor: pb.RowTensor, place: str) -> None:
    """Counts and numbers that do not go together are refused in the caller's own words."""
    assert place in _violations(_error(running, pb.PredictRequest(tensor=tensor)))


def test_one_form_at_a_time(running: object) -> None:
    """Rows and tensor together are a mistake, and so is neither."""
    both = pb.PredictRequest(rows=[pb.Row(values=[1] * 4)], tensor=pb.RowTensor(row_count=1))
    assert "tensor" in _violations(_error(running, both))
    assert "rows" in _violations(_error(running, pb.PredictRequest()))


@pytest.mark.parametrize(
    "asked", [{"model_name": "wine"}, {"model_version": "99"}, {"model_name": "x" * 100_000}]
)
def test_other_models_are_not_found(running: object, asked: dict[str, str]) -> None:
    """What is asked for and what is held are both in the answer, and no name makes the answer large."""
    error = _error(running, pb.PredictRequest(rows=[pb.Row(values=[1] * 4)], **asked))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "this server holds iris version local" in error.details()
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.GetModel(pb.GetModelRequest(**asked), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_model_that_is_held_may_be_named(running: object) -> None:
    """Name and version of the serving model are accepted."""
    request = pb.PredictRequest(rows=[pb.Row(values=[1] * 4)], model_name="iris", model_version="local")
    assert running.stub.Predict(request, timeout=5).predictions


def test_too_many_rows_are_not_even_decoded(
    make_service: object, retry_after_ms: Callable[[grpc.RpcError], int]
) -> None:
    """Beyond the row limit the answer is RESOURCE_EXHAUSTED, and retrying is discouraged."""
    running = make_service(max_rows_per_request=10)
    for request in (
        pb.PredictRequest(rows=[pb.Row()] * 11),
        pb.PredictRequest(tensor=pb.RowTensor(row_count=11, column_count=4, values=[1] * 44)),
    ):
        error = _error(running, request)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "MAX_ROWS_PER_REQUEST" in error.details()
        assert retry_after_ms(error) == -1
    assert 'ml_requests_shed_total{reason="rows"} 2.0' in running.metrics()


def test_too_large_messages_are_refused(make_service: object) -> None:
    """Beyond the message limit the answer is RESOURCE_EXHAUSTED, and the server serves on."""
    running = make_service(grpc_max_message_bytes=2048)
    large = pb.PredictRequest(rows=[pb.Row(values=[1] * 4)] * 100)
    assert _error(running, large).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.stub.Predict(pb.PredictRequest(rows=[pb.Row(values=[1] * 4)]), timeout=5).predictions


def test_a_defect_tells_nothing_but_the_request_id(make_service: object) -> None:
    """An exception of a model is INTERNAL with a fixed text; its own text stays in the log."""
    running = make_service()

    class Broken:
        runtime = "fake"

        def predict(self, _features: np.ndarray) -> None:
            raise ZeroDivisionError("secret detail")

    _replace_predictor(running, Broken())
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(
            pb.PredictRequest(rows=[pb.Row(values=[1] * 4)]), timeout=5, metadata=(("x-request-id", "r77"),)
        )
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "r77" in caught.value.details()
    assert 'ml_request_errors_total{code="INTERNAL",method="Predict",track="stable"} 1.0' in running.metrics()


def _replace_predictor(running: object, predictor: object) -> None:
    import dataclasses

    catalog = running.service.catalog
    (slot,) = catalog.slots
    catalog.switch(slot, dataclasses.replace(slot.current, predictor=predictor))


def test_trailers_say_who_answered(make_service: object) -> None:
    """Every answer, good or bad, has version, track and request id in its trailing metadata."""
    running = make_service(deployment_track="canary")
    with PredictionClient(running.address) as client:
        result = client.predict([[1, 2, 3, 4]], request_id="abc")
        assert (result.track, result.request_id, result.model_version) == ("canary", "abc", "local")
        with pytest.raises(InvalidRequestError) as caught:
            client.predict([[1]], request_id="abc")
    trailers = dict(caught.value.__cause__.trailing_metadata())
    assert (trailers["x-deployment-track"], trailers["x-request-id"]) == ("canary", "abc")
    assert trailers["x-model-version"] == "local"


def test_get_model_describes_what_serves(running: object, bundle: Path) -> None:
    """GetModel gives the manifest and the metrics as they are in the bundle."""
    with PredictionClient(running.address) as client:
        described = client.get_model()
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert json_format.MessageToDict(described.manifest, preserving_proto_field_name=True) == manifest
    assert described.metrics.accuracy == 0.97
    assert (described.track, described.generation, described.model_version) == ("stable", 1, "local")
    assert abs(described.loaded_at.ToSeconds() - time.time()) < 600


def test_each_answer_leaves_an_event(make_service: object) -> None:
    """The event has the request's id, rows, outputs and model; a replay is marked."""
    running = make_service()
    with PredictionClient(running.address) as client:
        user = client.predict([[5.1, 3.5, 1.4, 0.2]], request_id="user-1")
        client.predict([[5.1, 3.5, 1.4, 0.2]], shadow=True)
    lines = running.events(2)
    events = [json_format.Parse(line["message"], PredictionEvent()) for line in lines]
    assert [event.shadow for event in events] == [False, True]
    assert lines[0]["correlation_id"] == "user-1"
    assert (events[0].event_id, events[0].digest) == (user.event_id, user.model_digest)
    assert [value.string_value for value in events[0].predictions] == [*user.labels]
    assert list(events[0].features[0]) == pytest.approx([5.1, 3.5, 1.4, 0.2])


def test_health_follows_the_model(make_service: object) -> None:
    """The process is SERVING at once and to the end, the service only with a model and not while draining."""
    running = make_service(load=False)
    health = health_pb2_grpc.HealthStub(running.channel)

    def check(service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service)
        status = health.Check(request, timeout=5).status
        return health_pb2.HealthCheckResponse.ServingStatus.Name(status)

    assert (check(""), check(SERVICE)) == ("SERVING", "NOT_SERVING")
    error = _error(running, pb.PredictRequest(rows=[pb.Row(values=[1] * 4)]))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    running.service.load()
    assert (check(""), check(SERVICE)) == ("SERVING", "SERVING")
    running.service.drain()
    assert (check(""), check(SERVICE)) == ("SERVING", "NOT_SERVING")
    assert running.stub.Predict(pb.PredictRequest(rows=[pb.Row(values=[1] * 4)]), timeout=5).predictions


def test_reflection_lists_the_services(running: object) -> None:
    """grpcurl and its like find the services without the .proto."""
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (reply,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    names = {service.name for service in reply.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


_floats = st.floats() | st.floats(0, 8)
_requests = st.builds(
    pb.PredictRequest,
    model_name=st.sampled_from(["", "iris", "\0é\n"]) | st.text(max_size=3),
    model_version=st.sampled_from(["", "local"]),
    feature_names=st.lists(
        st.sampled_from(["sepal_length", "sepal_width", "petal_length", "petal_width"]) | st.text(max_size=3),
        max_size=5,
    ),
    rows=st.lists(st.builds(pb.Row, values=st.lists(_floats, min_size=3, max_size=5)), max_size=4),
    tensor=st.none()
    | st.builds(
        pb.RowTensor,
        row_count=st.integers(-2, 3) | st.just(2**31 - 1),
        column_count=st.integers(-1, 5) | st.just(4),
        values=st.lists(_floats, max_size=12),
        float32_values=st.binary(max_size=32) | st.just(b"\0" * 16),
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_requests)
def test_no_request_is_a_defect(running: object, request_: pb.PredictRequest) -> None:
    """Whatever a well-formed message says, it is answered or refused for a reason that the caller can act on."""
    code, rows = _outcome(running, request_)
    assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
    assert code != "OK" or rows == (request_.tensor.row_count or len(request_.rows))


def _outcome(running: object, request: pb.PredictRequest) -> tuple[str, int]:
    try:
        response = running.stub.Predict(request, timeout=5)
    except grpc.RpcError as error:
        return error.code().name, 0
    return "OK", len(response.predictions) or len(response.columns.class_index)
