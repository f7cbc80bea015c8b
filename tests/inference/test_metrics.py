"""Metrics, as the text that Prometheus reads."""

import grpc
import pytest

from protos.inference.v1 import inference_pb2 as pb

ROW = pb.Row(values=[5.1, 3.5, 1.4, 0.2])
SERVICE = 'grpc_service="inference.v1.InferenceService",grpc_type="UNARY"'


def test_requests_are_counted_by_outcome(make_service: object) -> None:
    """Each answer, good or bad, is one count and one observation, with the track of the server."""
    running = make_service(deployment_track="canary")
    running.stub.Predict(pb.PredictRequest(rows=[ROW]), timeout=5)
    running.stub.Predict(pb.PredictRequest(rows=[ROW] * 3), timeout=5)
    with pytest.raises(grpc.RpcError):
        running.stub.Predict(pb.PredictRequest(), timeout=5)
    running.http.post("/predict", json={"rows": [list(ROW.values)]})
    running.stub.GetModel(pb.GetModelRequest(), timeout=5)
    running.events(3)
    lines = running.metrics()
    for line in (
        'ml_request_count_total{code="OK",method="Predict",track="canary"} 3.0',
        'ml_request_count_total{code="INVALID_ARGUMENT",method="Predict",track="canary"} 1.0',
        'ml_request_count_total{code="OK",method="GetModel",track="canary"} 1.0',
        'ml_request_latency_seconds_count{method="Predict",track="canary"} 4.0',
        'ml_request_errors_total{code="INTERNAL",method="Predict",track="canary"} 0.0',
        'ml_predictions_total{label="setosa"} 5.0',
        'ml_predictions_total{label="virginica"} 0.0',
        'ml_prediction_events_total{outcome="written"} 3.0',
        'ml_requests_shed_total{reason="concurrency"} 0.0',
        "ml_requests_in_flight 0.0",
        "ml_model_accuracy 0.97",
        "ml_model_generation 1.0",
        'ml_model_swaps_total{outcome="swapped"} 1.0',
        f'grpc_server_handled_total{{grpc_code="OK",grpc_method="Predict",{SERVICE}}} 2.0',
        f'grpc_server_handled_total{{grpc_code="INVALID_ARGUMENT",grpc_method="Predict",{SERVICE}}} 1.0',
        f'grpc_server_started_total{{grpc_method="Predict",{SERVICE}}} 3.0',
        f'grpc_server_handling_seconds_count{{grpc_method="Predict",{SERVICE}}} 3.0',
    ):
        assert line in lines
    assert any(line.startswith('ml_model_info{digest="') for line in lines)
    assert any(line.startswith("process_cpu_seconds_total ") for line in lines)


def test_latency_has_fine_buckets(running: object) -> None:
    """A one-row call takes a fraction of a millisecond, and the buckets can tell such calls apart."""
    buckets = [line for line in running.metrics() if line.startswith("ml_request_latency_seconds_bucket")]
    bounds = [line.partition('le="')[2].partition('"')[0] for line in buckets if "Predict" in line]
    assert bounds[0] == "0.00025"
    assert sum(float(bound) <= 0.001 for bound in bounds) >= 4
    assert bounds[-1] == "+Inf"


def test_callers_cannot_make_series(make_service: object) -> None:
    """Names that callers choose (models, methods, paths, headers) never become label values."""
    running = make_service()
    before = len(running.metrics())
    for index in range(30):
        with pytest.raises(grpc.RpcError):
            running.stub.Predict(pb.PredictRequest(rows=[ROW], model_name=f"name-{index}"), timeout=5)
        unknown = running.channel.unary_unary(f"/inference.v1.InferenceService/Method{index}")
        with pytest.raises(grpc.RpcError):
            unknown(b"", timeout=5)
        running.http.get(f"/path-{index}")
    after = running.metrics()
    assert "name-" not in "".join(after)
    # One code more for ml_request_count (and its time of creation), one for grpc_server_*.
    assert len(after) - before < 40
