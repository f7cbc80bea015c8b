"""One identifier a request: in its log lines, its event, its answer and the exemplars; and nothing but JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.inference.server_process import server_environment

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}

IDS = [
    ({"x-request-id": "r-1"}, "r-1"),
    ({"x-correlation-id": "c-1"}, "c-1"),
    ({"traceparent": TRACEPARENT}, TRACE_ID),
    ({"x-request-id": "r-2", "x-correlation-id": "c-2", "traceparent": TRACEPARENT}, "r-2"),
    ({"x-correlation-id": "c-3", "traceparent": TRACEPARENT}, "c-3"),
]


@pytest.mark.parametrize(("headers", "expected"), IDS)
def test_an_identifier_goes_through_everything(
    make_service: Callable[..., object], headers: dict[str, str], expected: str
) -> None:
    """Whatever header brings it, it is in the trailers, the reply, the events and the exemplars."""
    running = make_service()
    _, call = running.stub.Predict.with_call(REQUEST, metadata=tuple(headers.items()))
    assert dict(call.trailing_metadata())["x-request-id"] == expected
    reply = running.http.post("/predict", json={"rows": [[5.1, 3.5, 1.4, 0.2]]}, headers=headers)
    assert reply.headers["x-request-id"] == expected
    events = running.events(2)
    assert [event["correlation_id"] for event in events] == [expected, expected]
    reply = running.http.get("/metrics", headers=OPENMETRICS)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    buckets = [
        line for line in reply.text.splitlines() if line.startswith("ml_request_latency_seconds_bucket")
    ]
    exemplars = [line.partition(" # ")[2] for line in buckets if " # " in line]
    assert exemplars
    assert all(exemplar.startswith(f'{{request_id="{expected}"}} 0.') for exemplar in exemplars)


@pytest.mark.parametrize("value", ["two words", 'a"quote', "x" * 129, ""])
def test_an_identifier_that_cannot_be_logged_is_replaced(running: object, value: str) -> None:
    """A caller's text that is no identifier is not repeated; the request gets one of its own everywhere."""
    reply = running.http.post(
        "/predict", json={"rows": [[5.1, 3.5, 1.4, 0.2]]}, headers={"x-request-id": value}
    )
    assert len(reply.headers["x-request-id"]) == 32
    assert int(reply.headers["x-request-id"], 16)


def test_an_error_has_its_identifier_too(running: object) -> None:
    """Callers of refused requests are told the identifier to ask about."""
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(pb.PredictRequest(), metadata=(("x-request-id", "bad-1"),))
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "bad-1"


def test_requests_do_not_inherit_identifiers(running: object) -> None:
    """Threads serve one request after another, and each has its own identifier."""
    seen = set()
    for _ in range(50):
        _, call = running.stub.Predict.with_call(REQUEST)
        seen.add(dict(call.trailing_metadata())["x-request-id"])
    assert len(seen) == 50


# A server in whose process everything goes wrong that can: each line must be one JSON object.
HOSTILE = """
import dataclasses, logging, sys, threading, warnings
import inference.service as service

load = service.Service.load

class Odd:
    def __del__(self):
        raise ValueError("unraisable")

def load_and_misbehave(self):
    load(self)
    warnings.warn("an old way", DeprecationWarning)
    logging.getLogger("third.party").warning("line one\\nline two %s", {"a": '"quoted"'})
    logging.getLogger("third.party").error("%d", "no number")
    logging.getLogger("uvicorn.error").error("from the server \\x1b[31m")
    thread = threading.Thread(target=lambda: 1 / 0, name="doomed")
    thread.start()
    thread.join()
    Odd()
    generation = self.catalog.default

    class Broken:
        runtime = "broken"
        def predict(self, features):
            raise RuntimeError("a secret\\nof two lines")

    self.catalog.switch(self.catalog.slots[0], dataclasses.replace(generation, predictor=Broken()))
    logging.getLogger("ready").warning("misbehaved")

service.Service.load = load_and_misbehave
from inference.__main__ import main
sys.exit(main([]))
"""


@pytest.mark.slow
def test_every_line_of_a_server_is_json_whatever_goes_wrong(bundle: Path) -> None:
    """Warnings, foreign loggers, dead threads, unraisable errors and defects in requests: one JSON object each."""
    environment = server_environment(bundle, PYTHONWARNINGS="default")
    popen = subprocess.Popen(
        [sys.executable, "-c", HOSTILE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    try:
        for text in popen.stdout:
            lines.append(json.loads(text))
            if lines[-1]["message"] == "misbehaved":
                break
        (listening,) = [line for line in lines if line["message"] == "listening"]
        with grpc.insecure_channel(f"127.0.0.1:{listening['grpc_port']}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                InferenceServiceStub(channel).Predict(REQUEST, metadata=(("x-request-id", "doomed-1"),))
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "secret" not in caught.value.details()
        address = f"http://127.0.0.1:{listening['http_port']}"
        reply = httpx.post(
            f"{address}/predict", json={"rows": [[1, 2, 3, 4]]}, headers={"x-request-id": "d-2"}
        )
        assert reply.status_code == 500
        assert "secret" not in reply.text
        popen.terminate()
        rest, errors = popen.communicate(timeout=30)
    finally:
        popen.kill()
        popen.wait()
    lines += [json.loads(text) for text in rest.splitlines()]
    assert errors == ""
    assert popen.returncode == 0
    by_logger = {
        name: [line for line in lines if line["logger"] == name]
        for name in {line["logger"] for line in lines}
    }
    assert "an old way" in " ".join(line["message"] for line in by_logger["py.warnings"])
    assert [line["message"] for line in by_logger["third.party"]] == [
        "line one\nline two {'a': '\"quoted\"'}",
        "log line could not be rendered",
    ]
    assert by_logger["uvicorn.error"][0]["message"] == "from the server \x1b[31m"
    uncaught = " ".join(line["exception"] for line in by_logger["uncaught"])
    assert "ZeroDivisionError" in uncaught
    assert "unraisable" in uncaught
    failed = [line for line in by_logger["inference"] if line["message"] == "request failed"]
    assert [line["correlation_id"] for line in failed] == ["doomed-1", "d-2"]
    assert all("a secret\nof two lines" in line["exception"] for line in failed)
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in lines)
