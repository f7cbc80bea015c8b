"""More load than the server takes: refused at once, and what must go on goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.inference.v1 import inference_pb2 as pb
from protos.oip import open_inference_pb2 as oip
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.inference.silent_calls import open_silent_calls
from tests.inference.small_models import gate

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[1, 2, 3, 4])])


def _wait_for_in_flight(running: object, count: int) -> None:
    deadline = time.monotonic() + 5
    while running.service.plane.admission.in_flight < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_calls_beyond_the_limit_are_refused_at_once(
    make_service: object, retry_after_ms: Callable[[grpc.RpcError], int]
) -> None:
    """With the threads taken and the queue full a call is refused in no time, over both protocols."""
    running = make_service(max_concurrent_requests=20)
    gated = gate(running)
    calls = [running.stub.Predict.future(REQUEST, timeout=20) for _ in range(20)]
    _wait_for_in_flight(running, 20)
    assert "ml_requests_in_flight 20.0" in running.metrics()
    for _ in range(50):
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            running.stub.Predict(REQUEST, timeout=5)
        assert time.monotonic() - started < 1
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_ms(caught.value) == 100
    reply = running.http.post("/predict", json={"rows": [[1, 2, 3, 4]]})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    gated.go.set()
    assert all(call.result().predictions for call in calls)
    assert 'ml_requests_shed_total{reason="concurrency"} 51.0' in running.metrics()
    assert running.stub.Predict(REQUEST, timeout=5).predictions


def test_cancelled_calls_give_their_place_back(make_service: object) -> None:
    """Calls whose callers gave up while they waited do not count for ever."""
    running = make_service(max_concurrent_requests=20)
    gated = gate(running)
    calls = [running.stub.Predict.future(REQUEST, timeout=20) for _ in range(20)]
    _wait_for_in_flight(running, 20)
    for call in calls:
        call.cancel()
    gated.go.set()
    deadline = time.monotonic() + 5
    while running.service.plane.admission.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert running.stub.Predict(REQUEST, timeout=5).predictions


def test_health_is_answered_under_load(make_service: object) -> None:
    """Predictions that take every thread do not delay health, metrics or GET /health."""
    running = make_service()
    gated = gate(running)
    calls = [running.stub.Predict.future(REQUEST, timeout=20) for _ in range(30)]
    _wait_for_in_flight(running, 30)
    health = health_pb2_grpc.HealthStub(running.channel)
    started = time.monotonic()
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=2).status
    assert running.http.get("/health/ready").status_code == 200
    assert running.metrics()
    assert time.monotonic() - started < 1
    gated.go.set()
    for call in calls:
        call.result()


def test_open_streams_take_no_thread_from_predictions(make_service: object) -> None:
    """Any number of health watches and idle reflection streams leaves predictions alone; a stop ends them."""
    running = make_service()
    health = health_pb2_grpc.HealthStub(running.channel)
    question = health_pb2.HealthCheckRequest(service="inference.v1.InferenceService")
    watches = [health.Watch(question, timeout=20) for _ in range(20)]
    assert all(next(watch).status == health_pb2.HealthCheckResponse.SERVING for watch in watches)
    done = threading.Event()

    def idle() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        done.wait(20)
        yield from ()

    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    streams = [stub.ServerReflectionInfo(idle(), timeout=20) for _ in range(20)]
    assert all(running.stub.Predict(REQUEST, timeout=2).predictions for _ in range(20))
    running.service.drain()
    assert next(watches[0]).status == health_pb2.HealthCheckResponse.NOT_SERVING
    started = time.monotonic()
    assert running.service.stop(10)
    assert time.monotonic() - started < 4
    done.set()
    for stream in streams:
        stream.cancel()


def test_a_stop_waits_for_calls_in_flight(make_service: object) -> None:
    """Calls that wait or run when the server stops are answered."""
    running = make_service()
    gated = gate(running)
    calls = [running.stub.Predict.future(REQUEST, timeout=20) for _ in range(20)]
    _wait_for_in_flight(running, 20)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(running.service.stop, 10)
        time.sleep(0.2)
        assert not stopped.done()
        gated.go.set()
        assert stopped.result()
    assert all(call.result().predictions for call in calls)


def test_a_stop_does_not_wait_for_ever(make_service: object) -> None:
    """Calls that do not end within the grace are cut off, and the caller of `stop` learns it."""
    running = make_service()
    gated = gate(running)
    call = running.stub.Predict.future(REQUEST, timeout=20)
    _wait_for_in_flight(running, 1)
    assert not running.service.stop(0.2)
    with pytest.raises(grpc.RpcError):
        call.result()
    gated.go.set()


def test_calls_without_a_message_take_no_thread_from_others(make_service: object) -> None:
    """Callers that open calls and send nothing cannot keep the threads that others need."""
    running = make_service()
    with open_silent_calls(running.service.grpc_port, 40):
        _wait_for_in_flight(running, 40)
        for _ in range(3):
            assert running.stub.Predict(REQUEST, timeout=10).predictions
    deadline = time.monotonic() + 10
    line = 'ml_request_count_total{code="CANCELLED",method="Predict",track="stable"} 40.0'
    while running.service.plane.admission.in_flight or line not in running.metrics():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_silent_calls_beyond_the_limit_refuse_nobody_for_long(make_service: object) -> None:
    """More calls without a message than may wait count no more after a moment, and are not kept in any number."""
    running = make_service(max_concurrent_requests=100)
    if running.service._settings.grpc_transport == "native":
        pytest.skip("calls without a message are never seen by Python there")
    with open_silent_calls(running.service.grpc_port, 90), open_silent_calls(running.service.grpc_port, 90):
        _wait_for_in_flight(running, 90)
        deadline = time.monotonic() + 5  # they are cancelled after 20
        while running.service.plane.admission.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(3):
            assert running.stub.Predict(REQUEST, timeout=2).predictions


def _predict_late(running: object, go: threading.Event) -> grpc.Future:
    call = running.channel.stream_unary(
        "/inference.v1.InferenceService/Predict",
        request_serializer=pb.PredictRequest.SerializeToString,
        response_deserializer=pb.PredictResponse.FromString,
    )

    def requests() -> Iterator[pb.PredictRequest]:
        go.wait(20)
        yield REQUEST

    return call.future(requests(), timeout=20)


def test_a_late_message_is_counted_when_it_comes(
    make_service: object, retry_after_ms: Callable[[grpc.RpcError], int]
) -> None:
    """A call whose message comes late is answered; where the server is full by then, it is refused as any other."""
    running = make_service(max_concurrent_requests=10)
    if running.service._settings.grpc_transport == "native":
        pytest.skip("calls without a message are never seen by Python there")
    admission = running.service.plane.admission
    for full in (False, True):
        go = threading.Event()
        late = _predict_late(running, go)
        _wait_for_in_flight(running, 1)
        deadline = time.monotonic() + 5
        while admission.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(10 * full):
            admission.enter()
        go.set()
        if not full:
            assert late.result().predictions
            continue
        with pytest.raises(grpc.RpcError) as caught:
            late.result()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_ms(caught.value) == 100
        for _ in range(10):
            admission.leave()
    counted = 'ml_request_count_total{code="%s",method="Predict",track="stable"} 1.0'
    assert {counted % "OK", counted % "RESOURCE_EXHAUSTED"} <= set(running.metrics())
    assert counted % "CANCELLED" not in running.metrics()


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_silent_callers_keep_no_operator_out(make_service: object, method: str) -> None:
    """Callers without a token who open loads and unloads and send nothing block none of an operator."""
    running = make_service(admin_api_token="t")
    port = running.service.grpc_port
    stub = GRPCInferenceServiceStub(running.channel)
    with open_silent_calls(port, 40, f"/inference.GRPCInferenceService/{method}"):
        _wait_for_started(running, method, 40)
        began = time.monotonic()
        for _ in range(3):
            request = oip.RepositoryModelLoadRequest(model_name="iris")
            assert stub.RepositoryModelLoad(request, timeout=10, metadata=(("x-admin-token", "t"),)).isLoaded
        assert time.monotonic() - began < 4  # they are cancelled after 5


def _wait_for_started(running: object, method: str, count: int) -> None:
    """Wait until so many calls came; with the native transport those without a message never come to Python."""
    if running.service._settings.grpc_transport == "native":
        return
    start = f'grpc_server_started_total{{grpc_method="{method}"'
    deadline = time.monotonic() + 10
    while not any(line.startswith(start) and line.endswith(f" {count}.0") for line in running.metrics()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
