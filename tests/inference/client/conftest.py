"""Real gRPC servers whose answers follow a script, and both clients behind one way of asking."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from inference.client import AsyncPredictionClient, PredictionClient
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

SERVICE = "inference.v1.InferenceService"
CLASSES = ("low", "high")

#: What an attempt is refused with: a code, or a code with trailing metadata.
Step = grpc.StatusCode | tuple[grpc.StatusCode, tuple[tuple[str, str | bytes], ...]]


@dataclass
class Seen:
    """One attempt as it arrived."""

    at: float
    remaining_seconds: float
    metadata: dict[str, object]
    request: object


class Arrivals(grpc.ServerInterceptor):
    """Counts calls by their headers, so that those whose message gRPC itself refuses count as well."""

    def __init__(self) -> None:
        self.count = 0

    def intercept_service(
        self, continuation: Callable[..., object], details: grpc.HandlerCallDetails
    ) -> object:
        self.count += 1
        return continuation(details)


class Backend(InferenceServiceServicer):
    """A server on a port of the kernel's choice; class `high` is for rows whose sum is above 10.

    `script` has one entry an attempt; when it is used up, attempts are answered. With `gate` answers wait for it.
    """

    def __init__(
        self,
        *script: Step,
        credentials: grpc.ServerCredentials | None = None,
        options: tuple[tuple[str, object], ...] = (),
        serving: bool = True,
        port: int = 0,
    ) -> None:
        self.script = list(script)
        self.seen: list[Seen] = []
        self.arrivals = Arrivals()
        self.gate: threading.Event | None = None
        self.in_flight = self.most_in_flight = 0
        self._changed = threading.Condition()
        self._health = health.HealthServicer(experimental_non_blocking=True)
        self._server = grpc.server(
            ThreadPoolExecutor(16),
            interceptors=[self.arrivals],
            options=[*({"grpc.so_reuseport": 0} | dict(options)).items()],
        )
        add_InferenceServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if credentials is None:
            self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        else:
            self.address = f"localhost:{self._server.add_secure_port('localhost:0', credentials)}"
        self.ready(serving=serving)
        self._server.start()

    def ready(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self._health.set(SERVICE, status.SERVING if serving else status.NOT_SERVING)

    def stop(self) -> None:
        if self.gate:
            self.gate.set()
        self._server.stop(0).wait()

    def wait_in_flight(self, count: int) -> None:
        """Return once so many calls are in their handlers."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.in_flight == count, 10)

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:  # noqa: N802
        self._enter(request, context)
        return pb.GetModelResponse(model_version="7", track="stable")

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        self._enter(request, context)
        if self.gate is not None:
            self._count(1)
            self.gate.wait(20)
            self._count(-1)
        response = pb.PredictResponse(model_name="sum", model_version="7", event_id="e")
        if request.HasField("tensor"):
            width = request.tensor.column_count
            values = list(request.tensor.values)
            sums = [sum(values[at : at + width]) for at in range(0, len(values), width)]
            response.columns.classes.extend(CLASSES)
            response.columns.class_index.extend(int(total > 10) for total in sums)
            response.columns.probabilities.extend(share for s in sums for share in (s <= 10, s > 10))
        else:
            for row in request.rows:
                index = int(sum(row.values) > 10)
                response.predictions.add(label=CLASSES[index], class_index=index)
        return response

    def _enter(self, request: object, context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        self.seen.append(Seen(time.monotonic(), context.time_remaining(), metadata, request))
        context.set_trailing_metadata((("x-request-id", metadata.get("x-request-id", "")),))
        if self.script:
            step = self.script.pop(0)
            code, trailers = step if isinstance(step, tuple) else (step, ())
            context.set_trailing_metadata((("x-request-id", metadata.get("x-request-id", "")), *trailers))
            context.abort(code, "as the script says")

    def _count(self, change: int) -> None:
        with self._changed:
            self.in_flight += change
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self._changed.notify_all()


BackendMaker = Callable[..., Backend]


@pytest.fixture
def serve() -> Iterator[BackendMaker]:
    """Start servers; all of them are stopped at the end."""
    backends: list[Backend] = []

    def start(*script: Step, **options: object) -> Backend:
        backends.append(Backend(*script, **options))
        return backends[-1]

    yield start
    for backend in backends:
        backend.stop()


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest) -> Callable[..., object]:
    """Make one call with a client of its own: `ask(address, method, *arguments, client={...}, **options)`.

    Every test that uses this holds for both clients.
    """

    def blocking(
        address: str, method: str, *arguments: object, client: dict[str, object] | None = None, **o: object
    ) -> object:
        with PredictionClient(address, **(client or {})) as asked:
            return getattr(asked, method)(*arguments, **o)

    def asynchronous(
        address: str, method: str, *arguments: object, client: dict[str, object] | None = None, **o: object
    ) -> object:
        async def run() -> object:
            async with AsyncPredictionClient(address, **(client or {})) as asked:
                return await getattr(asked, method)(*arguments, **o)

        return asyncio.run(run())

    return blocking if request.param == "threads" else asynchronous
