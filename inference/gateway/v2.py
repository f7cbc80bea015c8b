"""The Open Inference Protocol v2 over HTTP."""

from collections.abc import Callable
from typing import Final

import orjson
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.core import is_shadow
from inference.gateway.answering import Answering
from inference.gateway.edge import Asked, Edge, Endpoint, Followed
from inference.gateway.replies import failure_headers, json_reply, read_body, sentence_reply, violations_of
from inference.gateway.repository import RepositoryAsked, read_repository_request
from inference.gateway.tensors import read_inference, written_outputs
from inference.ledger import RequestKind
from inference.oip import EXTENSIONS, SERVER_NAME, SERVER_VERSION, OpenInference
from inference.status import Failure
from inference.tokens import TokenGuard
from inference.tracing import http_operation

__all__ = ["OpenInferenceGateway", "is_open_inference"]

_ROOT: Final = "/v2"

#: Says how many bytes of a body are JSON, when bytes of tensors follow.
_JSON_LENGTH: Final = "inference-header-content-length"
_INFER: Final = http_operation("POST", "/v2/models/{name}/infer")
#: Threads in which loads wait for each other; those beyond wait without a thread.
_MAX_WAITING_LOADS: Final = 4
#: What is asked of the repository is a few parameters.
_MAX_REPOSITORY_BODY_BYTES: Final = 16 * 1024

_RepositoryAnswer = Callable[[Request, RepositoryAsked], Response]


class OpenInferenceGateway:
    """Converts, calls, converts back."""

    def __init__(
        self,
        protocol: OpenInference,
        edge: Edge,
        answering: Answering,
        kind: RequestKind,
        guard: TokenGuard,
        admin_guard: TokenGuard,
    ) -> None:
        self._protocol = protocol
        self._edge = edge
        self._answering = answering
        self._infer = answering.endpoint(Followed(kind, _INFER), self._answer, self._fail)
        self._guard = guard
        self._admin_guard = admin_guard
        self._limiter: CapacityLimiter | None = None

    def routes(self) -> list[Route]:
        """Return the routes, each with and without a slash at its end."""
        guarded, admin = self._guard, self._admin_guard
        table: list[tuple[str, str, Endpoint]] = [
            ("/v2", "GET", self._quick(self._metadata, guarded)),
            ("/v2/health/live", "GET", self._quick(self._live)),
            ("/v2/health/ready", "GET", self._quick(self._ready)),
            ("/v2/repository/index", "POST", self._repository(self._index, guarded, slow=False)),
            ("/v2/repository/models/{name}/load", "POST", self._repository(self._load, admin, slow=True)),
            ("/v2/repository/models/{name}/unload", "POST", self._repository(self._unload, admin, slow=True)),
        ]
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            table += [
                (model, "GET", self._quick(self._model, guarded)),
                (f"{model}/ready", "GET", self._quick(self._model_ready)),
                (f"{model}/infer", "POST", self._infer),
            ]
        return [
            Route(written, endpoint, methods=[method])
            for path, method, endpoint in table
            for written in (path, path + "/")
        ]

    def _answer(self, request: Request, body: bytes, request_id: str) -> Response:
        name, version = _asked_model(request)
        inference = read_inference(body, request.headers.get(_JSON_LENGTH), max_rows=self._answering.max_rows)
        outputs = inference.outputs
        self._protocol.expect(name, version, inference.input_count, outputs)
        answer, tensors = self._protocol.infer(
            name,
            version,
            inference.inputs(),
            outputs,
            correlation_id=request_id,
            shadow=is_shadow(request.headers),
        )
        generation = answer.generation
        written, after = written_outputs(tensors, inference.binary_outputs)
        content: dict[str, object] = {
            "model_name": generation.name,
            "model_version": generation.version,
            "parameters": {"event_id": answer.event_id},
            "outputs": written,
        }
        if inference.id:
            content["id"] = inference.id
        headers = self._answering.headers(request_id, generation.version)
        if not after:
            return json_reply(content, headers=headers)
        head = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(
            head + after,
            headers={**headers, _JSON_LENGTH: str(len(head))},
            media_type="application/octet-stream",
        )

    def _fail(self, failure: Failure, request_id: str) -> Response:
        headers = failure_headers(failure, self._answering.headers(request_id))
        return sentence_reply(
            failure.http_status, failure.sentence, violations=violations_of(failure), headers=headers
        )

    def _quick(self, answer: Callable[[Request], Response], guard: TokenGuard | None = None) -> Endpoint:
        async def work(request: Request, _request_id: str) -> Response:
            return answer(request)

        return self._edge.endpoint(Asked(work, self._fail, guard))

    def _repository(self, answer: _RepositoryAnswer, guard: TokenGuard, *, slow: bool) -> Endpoint:
        async def work(request: Request, _request_id: str) -> Response:
            asked = read_repository_request(await read_body(request, _MAX_REPOSITORY_BODY_BYTES))
            if not slow:
                return answer(request, asked)
            self._limiter = self._limiter or CapacityLimiter(_MAX_WAITING_LOADS)
            return await to_thread.run_sync(answer, request, asked, limiter=self._limiter)

        return self._edge.endpoint(Asked(work, self._fail, guard))

    def _metadata(self, _request: Request) -> Response:
        return json_reply({"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS})

    def _live(self, _request: Request) -> Response:
        return json_reply({"live": True})

    def _ready(self, _request: Request) -> Response:
        ready = self._protocol.ready
        return json_reply({"ready": ready}, 200 if ready else 503)

    def _index(self, _request: Request, asked: RepositoryAsked) -> Response:
        return json_reply([entry._asdict() for entry in self._protocol.index(ready=asked.ready)])

    def _model(self, request: Request) -> Response:
        model = self._protocol.describe(*_asked_model(request))
        return json_reply(
            {
                "name": model.name,
                "versions": model.versions,
                "platform": model.platform,
                "inputs": [tensor._asdict() for tensor in model.inputs],
                "outputs": [tensor._asdict() for tensor in model.outputs],
                "properties": model.properties,
            }
        )

    def _model_ready(self, request: Request) -> Response:
        name, version = _asked_model(request)
        ready = self._protocol.model_ready(name, version)
        return json_reply({"name": name, "ready": ready}, 200 if ready else 503)

    def _load(self, request: Request, asked: RepositoryAsked) -> Response:
        self._protocol.load(request.path_params["name"], "name", asked.parameters)
        return json_reply({})

    def _unload(self, request: Request, _asked: RepositoryAsked) -> Response:
        self._protocol.unload(request.path_params["name"], "name")
        return json_reply({})


def is_open_inference(path: str) -> bool:
    """Tell whether errors at `path` are in the form of the protocol."""
    return path == _ROOT or path.startswith(_ROOT + "/")


def _asked_model(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")
