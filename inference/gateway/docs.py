"""`/docs` for people and `/openapi.json` for programs, both made from the models that serve now."""

import re
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.core import DataPlane
from inference.errors import InferenceError
from inference.gateway.edge import Asked, Edge, Endpoint
from inference.gateway.examples import Addresses, example_of
from inference.gateway.openapi import openapi_of
from inference.gateway.page import POLICY, index_page, message_page, model_page
from inference.gateway.replies import failure_reply, json_reply
from inference.status import failure_of
from inference.tokens import TokenGuard

__all__ = ["docs_routes"]

#: What a Host header may look like before a page repeats it: a name, an IPv4 or a bracketed IPv6 address.
_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",  # the model may change at any time
}


def docs_routes(
    plane: DataPlane, edge: Edge, *, guard: TokenGuard, grpc_port: int, grpc_tls: bool = False
) -> list[Route]:
    """Return the routes; `guard` is that of predictions, because the pages describe the models."""
    pages = _Docs(plane, guard, grpc_port, grpc_tls)
    table = [("/docs", pages.index), ("/docs/{name:path}", pages.model), ("/openapi.json", pages.openapi)]
    return [
        Route(written, _guarded(edge, guard, endpoint), methods=["GET"])
        for path, endpoint in table
        for written in ((path, path + "/") if path == "/docs" else (path,))
    ]


def _guarded(edge: Edge, guard: TokenGuard, answer: Callable[[Request, str], Response]) -> Endpoint:
    async def work(request: Request, request_id: str) -> Response:
        return answer(request, request_id)

    return edge.endpoint(Asked(work, lambda failure, _: failure_reply(failure, {}), guard))


class _Docs:
    """Answers; asks nothing but what serves now."""

    def __init__(self, plane: DataPlane, guard: TokenGuard, grpc_port: int, grpc_tls: bool) -> None:
        self._plane = plane
        self._guard = guard
        self._grpc_port = grpc_port
        self._grpc_tls = grpc_tls

    def index(self, request: Request, _request_id: str) -> Response:
        """List the models."""
        models = self._plane.catalog.generations
        return _html(index_page(models, default=self._plane.serving, root=_root(request)))

    def model(self, request: Request, request_id: str) -> Response:
        """Describe one model, of the version that `?version=` names or that answers by default."""
        name, version = request.path_params["name"], request.query_params.get("version", "")
        try:
            generation = self._plane.describe(name.removesuffix("/"), version)
        except InferenceError as error:
            failure = failure_of(error, request_id)
            return _html(message_page("Not here", failure.sentence, root=_root(request)), failure.http_status)
        example = example_of(self._plane, generation)
        return _html(model_page(generation, example, self._addresses(request), root=_root(request)))

    def openapi(self, _request: Request, _request_id: str) -> Response:
        """Return the OpenAPI document."""
        return json_reply(
            openapi_of(self._plane, token=not self._guard.open), headers={"cache-control": "no-store"}
        )

    def _addresses(self, request: Request) -> Addresses:
        found = _HOST.fullmatch(request.headers.get("host", ""))
        host, port = (found[1], found[2] or "") if found else ("localhost", ":8000")
        return Addresses(
            f"{request.url.scheme}://{host}{port}{_root(request)}",
            f"{host}:{self._grpc_port}",
            self._grpc_tls,
            not self._guard.open,
        )


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _html(content: str, status: int = 200) -> Response:
    return Response(content, status, _HEADERS, media_type="text/html; charset=utf-8")
