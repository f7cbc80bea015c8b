"""The client for threads."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc

from inference.client.batches import DEFAULT_ROWS_PER_CALL, Batch, split
from inference.client.call import DEFAULT_DEADLINE_SECONDS, Asked, Call, Caller, Metadata, Token
from inference.client.channel import ChannelOptions, TlsFiles, open_channel
from inference.client.readiness import QUESTION, Readiness
from inference.client.result import PredictResult, result_of
from inference.client.retry import RetryPolicy
from inference.client.rows import Rows
from inference.client.status import Trailers, trailers_of
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

__all__ = ["PredictionClient"]

Q = TypeVar("Q")
A = TypeVar("A")


class PredictionClient:
    """One channel to one server; a context manager.

    Make one and keep it: threads may share it, and calls share its connection. Make it after a fork, not before.

    `tls` None means plaintext. `token` is sent as `authorization: Bearer …`, in plaintext too. `metadata` goes
    with every call. Each call has one deadline, `deadline_seconds`, for all its attempts; `retry` says how many
    there may be. Calls raise `PredictionError`.
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
        self._channel = open_channel(address, tls, options)
        self._stub = InferenceServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def predict(
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
        """Predict one output a row.

        `rows` are sequences of cells, in the model's order or that of `feature_names`; mappings from feature
        name to cell; a 2-D numpy array; or a pandas DataFrame, whose columns name the features when they are
        text. A cell is a number, the text of a category, or None for what is missing. `model_name` and
        `model_version` make any other model an error. `shadow` marks a replay that is no user traffic.

        Predicting changes nothing, so a refused attempt is tried again, under the same request id. When an
        answer was lost on its way, the prediction log then has a second event of that id.
        """
        asked = Asked(
            deadline_seconds, metadata, model_name, model_version, feature_names, request_id, shadow
        )
        return self._predict(Batch(0, rows), asked)

    def predict_batches(
        self,
        rows: Rows,
        *,
        rows_per_call: int = DEFAULT_ROWS_PER_CALL,
        feature_names: Sequence[str] = (),
        model_name: str = "",
        model_version: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        shadow: bool = False,
        metadata: Metadata = (),
    ) -> Iterator[PredictResult]:
        """Predict many rows in calls of `rows_per_call`, one after the other; yield the answers in order.

        Each call has a deadline and a request id of its own. Violations count rows from the first of all.
        `frame_of` makes one DataFrame of the answers.
        """
        asked = Asked(deadline_seconds, metadata, model_name, model_version, feature_names, shadow=shadow)
        for batch in split(rows, rows_per_call):
            yield self._predict(batch, asked)

    def get_model(
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
        return self._call(self._stub.GetModel, request, call)[0]

    def wait_ready(self, deadline_seconds: float = 30.0) -> None:
        """Return once the server has a model and health says SERVING, or raise `DeadlineExceededError`."""
        waiting = Readiness(self._caller.address, deadline_seconds)
        while True:
            headers = self._caller.headers()
            try:
                reply = self._health.Check(QUESTION, timeout=waiting.check_seconds, metadata=headers)
            except grpc.RpcError as error:
                waiting.note(error)
            else:
                if waiting.is_ready(reply):
                    return
            time.sleep(waiting.delay())

    def _predict(self, batch: Batch, asked: Asked) -> PredictResult:
        encoded, call = self._caller.prediction(batch, asked)
        response, trailers = self._call(self._stub.Predict, encoded.request, call)
        return result_of(response, trailers, encoded.index)

    def _call(
        self, method: "grpc.UnaryUnaryMultiCallable[Q, A]", request: Q, call: Call
    ) -> tuple[A, Trailers]:
        while True:
            try:
                response, done = method.with_call(
                    request, timeout=call.attempts.remaining_seconds, metadata=call.headers
                )
            except grpc.RpcError as error:
                delay = call.delay_after(error)
            else:
                return response, trailers_of(done.trailing_metadata())
            time.sleep(delay)
