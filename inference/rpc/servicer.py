"""`inference.v1.InferenceService` over the data plane."""

from typing import Final

from inference.core import DataPlane, is_shadow
from inference.rpc.answer_bytes import response_bytes
from inference.rpc.convert import call_of, description_of
from inference.rpc.unary import Call, Method, Reply
from inference.tokens import TokenGuard
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["INFERENCE_SERVICE", "inference_methods"]

INFERENCE_SERVICE: Final = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name


def inference_methods(plane: DataPlane, guard: TokenGuard, *, track: str) -> list[Method]:
    """Return the methods of the inference service: each converts, calls, converts back."""

    def predict(request: pb.PredictRequest, call: Call) -> Reply:
        answer = plane.predict(call_of(request, call.request_id, shadow=is_shadow(call.headers)))
        return Reply(response_bytes(answer, as_columns=request.HasField("tensor")), answer.generation)

    def get_model(request: pb.GetModelRequest, _call: Call) -> Reply:
        generation = plane.describe(request.model_name, request.model_version)
        return Reply.of(description_of(generation, track), generation)

    return [
        Method("Predict", pb.PredictRequest, predict, guard),
        Method("GetModel", pb.GetModelRequest, get_model, guard),
    ]
