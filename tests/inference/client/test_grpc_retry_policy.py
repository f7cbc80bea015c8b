"""Why `inference.client.retry` is code of ours: what gRPC's own retry policy does, on a real server.

When one of the last two tests fails after an upgrade of grpcio, ask whether the policy can do the work.
"""

import json
import time
from itertools import pairwise

import grpc
import pytest

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.05s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
OPTIONS = [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": POLICY}]}))]
REQUEST = pb.PredictRequest(rows=[pb.Row(values=[1, 2])])


def _code(address: str, request: pb.PredictRequest = REQUEST, timeout: float = 5) -> grpc.StatusCode:
    with grpc.insecure_channel(address, OPTIONS) as channel:
        try:
            InferenceServiceStub(channel).Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def _pushback(text: str) -> object:
    return (grpc.StatusCode.RESOURCE_EXHAUSTED, (("grpc-retry-pushback-ms", text),))


@pytest.mark.parametrize(("pushback", "attempts"), [("300", 2), ("-1", 1), ("soon", 1)])
def test_it_heeds_pushback(serve: object, pushback: str, attempts: int) -> None:
    """A delay is kept, a negative or unreadable one ends the call: that much is right."""
    backend = serve(_pushback(pushback))
    _code(backend.address)
    times = [seen.at for seen in backend.seen]
    assert len(times) == attempts
    assert all(after - before >= 0.29 for before, after in pairwise(times))


def test_it_repeats_a_message_that_can_never_fit(serve: object) -> None:
    """RESOURCE_EXHAUSTED without pushback is retried like any other listed code: five times the same refusal."""
    backend = serve(options=(("grpc.max_receive_message_length", 1000),))
    large = pb.PredictRequest(rows=[pb.Row(values=[1] * 4)] * 100)
    assert _code(backend.address, large) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert backend.arrivals.count == 5


def test_it_waits_for_what_cannot_come_in_time(serve: object) -> None:
    """A pushback beyond the deadline costs the whole deadline, and the overload is told as DEADLINE_EXCEEDED."""
    backend = serve(_pushback("60000"))
    began = time.monotonic()
    assert _code(backend.address, timeout=0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began >= 0.45
