"""`inference.v1.InferenceService` over the data plane."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import grpc
import structlog

from inference.core import DataPlane
from inference.generation import Generation
from inference.metrics import Metrics
from inference.rpc.convert import call_of, description_of, response_of
from inference.rpc.dispatch import arrived_at
from inference.rpc.status import Trailers, failure_of, rich_status
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceServicer
from telemetry import choose_correlation_id, correlation_id

__all__ = ["SHADOW_HEADER", "Servicer"]

#: Metadata by which a caller says that a request is a replay and not user traffic.
SHADOW_HEADER: Final = "x-shadow-request"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")

# What answers a method: (request, headers, request id) to (response, the generation that answered).
_Work = Callable[[Any, Mapping[str, str], str], tuple[Any, Generation]]


class Servicer(InferenceServiceServicer):
    """Converts, calls, converts back; what goes wrong becomes a status."""

    def __init__(self, plane: DataPlane, metrics: Metrics, *, track: str) -> None:
        self._plane = plane
        self._metrics = metrics
        self._track = track

    def Predict(  # noqa: N802  # the service's own name
        self, request: pb.PredictRequest, context: grpc.ServicerContext
    ) -> pb.PredictResponse:
        """Predict one output a row."""
        response: pb.PredictResponse = self._answer("Predict", self._predict, request, context)
        return response

    def GetModel(  # noqa: N802  # the service's own name
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """Describe the model that answers now."""
        response: pb.GetModelResponse = self._answer("GetModel", self._get_model, request, context)
        return response

    def refusal(self, method: str) -> Callable[[object, grpc.ServicerContext], NoReturn]:
        """Return the behaviour of `method` for calls that came when too many waited already."""

        def refuse(_request: object, context: grpc.ServicerContext) -> NoReturn:
            self._answer(method, self._refuse, _request, context)
            raise AssertionError("a refusal always aborts")

        return refuse

    def _predict(
        self, request: pb.PredictRequest, headers: Mapping[str, str], request_id: str
    ) -> tuple[pb.PredictResponse, Generation]:
        call = call_of(request, request_id, shadow=headers.get(SHADOW_HEADER, "").lower() == "true")
        answer = self._plane.predict(call)
        return response_of(answer, as_columns=request.HasField("tensor")), answer.generation

    def _get_model(
        self, request: pb.GetModelRequest, _headers: Mapping[str, str], _request_id: str
    ) -> tuple[pb.GetModelResponse, Generation]:
        generation = self._plane.describe(request.model_name, request.model_version)
        return description_of(generation, self._track), generation

    def _refuse(self, _request: object, _headers: Mapping[str, str], _request_id: str) -> NoReturn:
        raise self._plane.admission.refusal()

    def _answer(self, method: str, work: _Work, request: object, context: grpc.ServicerContext) -> Any:  # noqa: ANN401  # the type of the method's response
        headers: dict[str, Any] = dict(context.invocation_metadata())
        request_id = choose_correlation_id(headers)
        correlation_id.set(request_id)
        try:
            response, generation = work(request, headers, request_id)
        except Exception as error:  # noqa: BLE001  # the edge of the process
            self._abort(method, error, request_id, context)
        context.set_trailing_metadata(self._trailers(generation, request_id))
        self._metrics.observe(method, "OK", time.perf_counter() - arrived_at())
        return response

    def _abort(
        self, method: str, error: Exception, request_id: str, context: grpc.ServicerContext
    ) -> NoReturn:
        failure = failure_of(error, request_id)
        if failure.is_defect:
            _log.error("request failed", method=method, exc_info=error)
        self._metrics.observe_failure(method, failure.code.name, error, time.perf_counter() - arrived_at())
        context.abort_with_status(rich_status(failure, self._trailers(self._plane.serving, request_id)))

    def _trailers(self, generation: Generation | None, request_id: str) -> Trailers:
        version = (("x-model-version", generation.version),) if generation is not None else ()
        return (*version, ("x-deployment-track", self._track), ("x-request-id", request_id))
