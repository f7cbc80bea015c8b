"""A small synchronous client of the prediction service, for tests, rollouts and demonstrations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import grpc

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

__all__ = ["PredictResult", "PredictionClient"]

#: Largest answer that the client takes, as the server's default.
_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PredictResult:
    """An answer, with what the trailing metadata says of it.

    `labels` has one class label a row, empty for regression; `values` has one value a row, empty for
    classification; `probabilities` has one tuple a row, in class order.
    """

    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    model_name: str
    model_version: str
    model_digest: str
    event_id: str
    track: str
    request_id: str


class PredictionClient:
    """One channel to one server; a context manager. Every call has a deadline and raises `grpc.RpcError`."""

    def __init__(self, address: str) -> None:
        options = [("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = InferenceServiceStub(self._channel)

    def __enter__(self) -> "PredictionClient":
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
        rows: Iterable[Sequence[float]],
        *,
        feature_names: Sequence[str] = (),
        timeout_seconds: float = 5.0,
        request_id: str = "",
        shadow: bool = False,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> PredictResult:
        """Predict one output a row; `shadow` marks a replay that is no user traffic."""
        sent = [*metadata]
        if request_id:
            sent.append(("x-request-id", request_id))
        if shadow:
            sent.append(("x-shadow-request", "true"))
        request = pb.PredictRequest(rows=[pb.Row(values=row) for row in rows], feature_names=feature_names)
        response, call = self._stub.Predict.with_call(request, timeout=timeout_seconds, metadata=tuple(sent))
        trailers = {key: str(value) for key, value in call.trailing_metadata() or ()}
        return _result(response, trailers)

    def get_model(self, *, timeout_seconds: float = 5.0) -> pb.GetModelResponse:
        """Describe the model that answers now."""
        return self._stub.GetModel(pb.GetModelRequest(), timeout=timeout_seconds)


def _result(response: pb.PredictResponse, trailers: dict[str, str]) -> PredictResult:
    predictions = response.predictions
    regression = any(prediction.HasField("value") for prediction in predictions)
    return PredictResult(
        labels=() if regression else tuple(prediction.label for prediction in predictions),
        probabilities=tuple(tuple(p.probabilities) for p in predictions) if not regression else (),
        values=tuple(prediction.value for prediction in predictions) if regression else (),
        model_name=response.model_name,
        model_version=response.model_version,
        model_digest=response.model_digest,
        event_id=response.event_id,
        track=trailers.get("x-deployment-track", ""),
        request_id=trailers.get("x-request-id", ""),
    )
