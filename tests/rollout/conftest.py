"""Small real gRPC servers that answer as an inference server does."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import hypothesis
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from rollout.local.envoy_config import Upstream

# How long an example takes says nothing on a machine that does everything at once.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

SERVICE = "inference.v1.InferenceService"

Metadata = dict[str, str]
Answer = Callable[[pb.PredictRequest], list[pb.Prediction]]


class Backend(InferenceServiceServicer):
    """A server of InferenceService and grpc.health.v1 on a port of the kernel's choice.

    `answer` makes the predictions; every `fail_every`-th call is refused with `code`. `seen` keeps what came.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.answer: Answer = lambda request: [pb.Prediction(label="setosa") for _ in request.rows]
        self.fail_every = 0
        self.code = grpc.StatusCode.INTERNAL
        self.seen: list[tuple[pb.PredictRequest, Metadata]] = []
        self._number = itertools.count(1)
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        add_InferenceServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.ready(serving=True)
        self._server.start()

    @property
    def upstream(self) -> Upstream:
        return Upstream("127.0.0.1", self.port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ready(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self._health.set(SERVICE, status.SERVING if serving else status.NOT_SERVING)

    def stop(self) -> None:
        """End at once, calls in flight included."""
        self._server.stop(0).wait()

    def GetModel(self, _request: pb.GetModelRequest, _context: grpc.ServicerContext) -> pb.GetModelResponse:  # noqa: N802
        return pb.GetModelResponse(model_version=self.version)

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        self.seen.append((request, {str(k): str(v) for k, v in context.invocation_metadata()}))
        if self.fail_every and next(self._number) % self.fail_every == 0:
            context.abort(self.code, "asked to fail")
        return pb.PredictResponse(predictions=self.answer(request), model_version=self.version)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[str], Backend]]:
    """Start servers; all of them are stopped at the end."""
    backends: list[Backend] = []

    def start(version: str) -> Backend:
        backends.append(Backend(version))
        return backends[-1]

    yield start
    for backend in backends:
        backend.stop()


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """Wait for a condition."""

    def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return wait
