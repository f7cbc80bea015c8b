"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from inference.client.batches import DEFAULT_ROWS_PER_CALL, Batch, split
from inference.client.call import DEFAULT_DEADLINE_SECONDS, Asked, Call, Caller, Metadata, Token
from inference.client.channel import ChannelOptions, TlsFiles, open_async_channel
from inference.client.readiness import QUESTION, Readiness
from inference.client.result import PredictResult, result_of
from inference.client.retry import RetryPolicy
from inference.client.rows import Rows
from inference.client.status import Trailers, trailers_of
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

if TYPE_CHECKING:
    from protos.inference.v1.inference_pb2_grpc import InferenceServiceAsyncStub

__all__ = ["AsyncPredictionClient"]

Q = TypeVar("Q")
A = TypeVar("A")


class AsyncPredictionClient:
    """One channel of one event loop to one server; an asynchronous context manager.

    Arguments, calls and errors are those of `PredictionClient`. The channel opens in the event loop of the first
    call. A call whose task is cancelled is cancelled on the server.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: TlsFiles | None = None,
        token: Token | None = None,
        metadata: Metadata = (),
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  # frozen
    ) -> None:
        self._caller = Caller(address, token, metadata, retry)
        self._tls, self._options = tls, options
        self._opened: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in flight end."""
        if self._opened is not None:
            await self._opened.close()

    async def predict(
        self,
        rows: Rows,
        *,
        feature_names: Sequence[str] = (),
        model_name: str = "",
        model_version: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        request_id: str = "",
        shadow: bool = False,
        metadata: Metadata = (),
    ) -> PredictResult:
        """Predict one output a row; see `PredictionClient.predict`, also for what a retry may duplicate."""
        asked = Asked(
            deadline_seconds, metadata, model_name, model_version, feature_names, request_id, shadow
        )
        return await self._predict(Batch(0, rows), asked)

    async def predict_batches(
        self,
        rows: Rows,
        *,
        rows_per_call: int = DEFAULT_ROWS_PER_CALL,
        concurrency: int = 4,
        feature_names: Sequence[str] = (),
        model_name: str = "",
        model_version: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        shadow: bool = False,
        metadata: Metadata = (),
    ) -> AsyncIterator[PredictResult]:
        """Predict many rows in calls of `rows_per_call`, `concurrency` at a time; yield the answers in order.

        No more than `concurrency` answers wait for whoever iterates. The first failure cancels the other calls.
        Who stops iterating early does so under `contextlib.aclosing`, so that they are cancelled at once.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, expected at least 1")
        asked = Asked(deadline_seconds, metadata, model_name, model_version, feature_names, shadow=shadow)
        running: deque[asyncio.Task[PredictResult]] = deque()
        try:
            for batch in split(rows, rows_per_call):
                if len(running) == concurrency:
                    yield await running.popleft()
                running.append(asyncio.create_task(self._predict(batch, asked)))
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def get_model(
        self,
        *,
        model_name: str = "",
        model_version: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        metadata: Metadata = (),
    ) -> pb.GetModelResponse:
        """Describe the model that answers now."""
        asked = Asked(deadline_seconds, metadata, model_name, model_version)
        request, call = self._caller.description(asked)
        return (await self._call(self._stub().GetModel, request, call))[0]

    async def wait_ready(self, deadline_seconds: float = 30.0) -> None:
        """Return once the server has a model and health says SERVING, or raise `DeadlineExceededError`."""
        waiting = Readiness(self._caller.address, deadline_seconds)
        health = health_pb2_grpc.HealthStub(self._channel())
        while True:
            headers = self._caller.headers()
            try:
                reply = await health.Check(QUESTION, timeout=waiting.check_seconds, metadata=headers)
            except grpc.RpcError as error:
                waiting.note(error)
            else:
                if waiting.is_ready(reply):
                    return
            await asyncio.sleep(waiting.delay())

    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            self._opened = open_async_channel(self._caller.address, self._tls, self._options)
        return self._opened

    def _stub(self) -> "InferenceServiceAsyncStub":
        return InferenceServiceStub(self._channel())

    async def _predict(self, batch: Batch, asked: Asked) -> PredictResult:
        encoded, call = self._caller.prediction(batch, asked)
        response, trailers = await self._call(self._stub().Predict, encoded.request, call)
        return result_of(response, trailers, encoded.index)

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Q, A]", request: Q, call: Call
    ) -> tuple[A, Trailers]:
        while True:
            sent: Any = method(request, timeout=call.attempts.remaining_seconds, metadata=call.headers)
            try:
                response: A = await sent
                return response, trailers_of(await sent.trailing_metadata())
            except grpc.RpcError as error:
                delay = call.delay_after(error)
            await asyncio.sleep(delay)
