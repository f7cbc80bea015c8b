"""`inference.GRPCInferenceService`, the Open Inference Protocol v2, over the data plane."""

from typing import Final, Protocol

from inference.core import DataPlane, PredictCall, is_shadow
from inference.errors import InvalidRequestError
from inference.oip import EXTENSIONS, SERVER_NAME, SERVER_VERSION, ModelRepository, OpenInference
from inference.oip.inputs import renamed
from inference.rows import RowBlock
from inference.rpc.plain_infer import plain_block, plain_response
from inference.rpc.tensors import add_outputs, inputs_of, requested_outputs
from inference.rpc.unary import Call, Method, Reply
from inference.tokens import TokenGuard
from protos.oip import open_inference_pb2 as pb

__all__ = ["OPEN_INFERENCE_SERVICE", "oip_methods"]

OPEN_INFERENCE_SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


def oip_methods(
    plane: DataPlane, repository: ModelRepository, guard: TokenGuard, admin_guard: TokenGuard, *, track: str
) -> list[Method]:
    """Return the methods of the service. Whether server and models are ready, anybody may ask."""
    open_guard = TokenGuard(None, variable="", required=False)
    service = _Service(plane, OpenInference(plane, repository, track=track))
    return [
        Method("ModelInfer", pb.ModelInferRequest, service.infer, guard),
        *(
            Method(name, request, work, who, limited=False)
            for name, request, work, who in (
                ("ServerLive", pb.ServerLiveRequest, service.live, open_guard),
                ("ServerReady", pb.ServerReadyRequest, service.ready, open_guard),
                ("ModelReady", pb.ModelReadyRequest, service.model_ready, open_guard),
                ("ServerMetadata", pb.ServerMetadataRequest, service.metadata, guard),
                ("ModelMetadata", pb.ModelMetadataRequest, service.model_metadata, guard),
                ("RepositoryIndex", pb.RepositoryIndexRequest, service.index, guard),
            )
        ),
        Method(
            "RepositoryModelLoad",
            pb.RepositoryModelLoadRequest,
            service.load,
            admin_guard,
            limited=False,
            slow=True,
        ),
        Method(
            "RepositoryModelUnload",
            pb.RepositoryModelUnloadRequest,
            service.unload,
            admin_guard,
            limited=False,
            slow=True,
        ),
    ]


class _Service:
    """Each method converts, calls, converts back."""

    def __init__(self, plane: DataPlane, protocol: OpenInference) -> None:
        self._plane = plane
        self._protocol = protocol

    def live(self, _request: pb.ServerLiveRequest, _call: Call) -> Reply:
        return Reply.of(pb.ServerLiveResponse(live=True))

    def ready(self, _request: pb.ServerReadyRequest, _call: Call) -> Reply:
        return Reply.of(pb.ServerReadyResponse(ready=self._protocol.ready))

    def model_ready(self, request: pb.ModelReadyRequest, _call: Call) -> Reply:
        return Reply.of(
            pb.ModelReadyResponse(ready=self._protocol.model_ready(request.name, request.version))
        )

    def metadata(self, _request: pb.ServerMetadataRequest, _call: Call) -> Reply:
        return Reply.of(
            pb.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION, extensions=EXTENSIONS)
        )

    def model_metadata(self, request: pb.ModelMetadataRequest, _call: Call) -> Reply:
        model = self._protocol.describe(request.name, request.version)
        response = pb.ModelMetadataResponse(
            name=model.name, versions=model.versions, platform=model.platform, properties=model.properties
        )
        for described, tensors in ((response.inputs, model.inputs), (response.outputs, model.outputs)):
            for tensor in tensors:
                described.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return Reply.of(response)

    def infer(self, request: pb.ModelInferRequest, call: Call) -> Reply:
        block = plain_block(request)
        return self._infer_in_general(request, call) if block is None else self._infer(request, block, call)

    def _infer(self, request: pb.ModelInferRequest, block: RowBlock, call: Call) -> Reply:
        name, version = request.model_name, request.model_version
        asked = PredictCall(block, (), name, version, call.request_id, is_shadow(call.headers))
        try:
            answer = self._plane.predict(asked)
        except InvalidRequestError as error:
            raise renamed(error) from None
        return Reply(plain_response(answer, request.id), answer.generation)

    def _infer_in_general(self, request: pb.ModelInferRequest, call: Call) -> Reply:
        name, version = request.model_name, request.model_version
        outputs = requested_outputs(request)
        self._protocol.expect(name, version, len(request.inputs), outputs)
        answer, tensors = self._protocol.infer(
            name,
            version,
            inputs_of(request),
            outputs,
            correlation_id=call.request_id,
            shadow=is_shadow(call.headers),
        )
        generation = answer.generation
        response = pb.ModelInferResponse(
            model_name=generation.name, model_version=generation.version, id=request.id
        )
        response.parameters["event_id"].string_param = answer.event_id
        add_outputs(response, tensors, raw=bool(request.raw_input_contents))
        return Reply.of(response, generation)

    def index(self, request: pb.RepositoryIndexRequest, _call: Call) -> Reply:
        response = pb.RepositoryIndexResponse()
        for entry in self._protocol.index(ready=request.ready):
            response.models.add(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )
        return Reply.of(response)

    def load(self, request: pb.RepositoryModelLoadRequest, _call: Call) -> Reply:
        name = _named(request)
        self._protocol.load(name, "model_name", sorted(request.parameters))
        return Reply.of(pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True))

    def unload(self, request: pb.RepositoryModelUnloadRequest, _call: Call) -> Reply:
        name = _named(request)
        self._protocol.unload(name, "model_name")
        return Reply.of(pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True))


class _NamesModel(Protocol):
    @property
    def repository_name(self) -> str: ...

    @property
    def model_name(self) -> str: ...


def _named(request: _NamesModel) -> str:
    """Return the model of a request in either dialect: KServe's has its name where the repository's is.

    There is only one repository, so its name says nothing.
    """
    return request.model_name or request.repository_name
