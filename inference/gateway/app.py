"""The routes of the HTTP gateway."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.core import DataPlane, is_shadow
from inference.gateway.admin import asked_model_uri
from inference.gateway.answering import Answering
from inference.gateway.docs import docs_routes
from inference.gateway.edge import Asked, Edge, Endpoint, Followed
from inference.gateway.health import HealthReport
from inference.gateway.predictions import call_of, content_of
from inference.gateway.replies import (
    error_reply,
    failure_reply,
    json_reply,
    read_body,
    sentence_reply,
)
from inference.gateway.v2 import OpenInferenceGateway, is_open_inference
from inference.metrics import Metrics
from inference.oip import OpenInference
from inference.roster import Roster
from inference.status import Failure
from inference.swap import SwapRecord
from inference.tokens import TokenGuard
from inference.tracing import http_operation
from telemetry import render_metrics

__all__ = ["Gateway"]

_Work = Callable[[Request, str], Awaitable[Response]]

#: A reload's body is one URI.
_MAX_ADMIN_BODY_BYTES: Final = 16 * 1024
#: Threads in which changes of the model wait for each other; those beyond wait without a thread.
_MAX_WAITING_CHANGES: Final = 8
_PREDICT: Final = http_operation("POST", "/predict")
_PATHS: Final = (
    "/health, /health/live, /health/ready, /metrics, /predict, /v2, /docs, /openapi.json, "
    "/admin/reload, /admin/rollback"
)


class Gateway:
    """Answers HTTP from the same data plane as gRPC; `app` is the ASGI application."""

    def __init__(
        self,
        plane: DataPlane,
        roster: Roster,
        health: HealthReport,
        metrics: Metrics,
        *,
        track: str,
        max_body_bytes: int,
        guard: TokenGuard,
        admin_guard: TokenGuard,
        grpc_port: int,
        grpc_tls: bool,
    ) -> None:
        self._plane = plane
        self._roster = roster
        self._health = health
        self._registry: CollectorRegistry = metrics.exposed
        self._admin_guard = admin_guard
        self._edge = Edge(metrics, plane.tracing)
        self._answering = Answering(self._edge, plane, guard, track=track, max_body_bytes=max_body_bytes)
        self._headers = self._answering.headers
        self._followed = Followed(metrics.http_kind("Predict"), _PREDICT)
        open_inference = OpenInferenceGateway(
            OpenInference(plane, roster, track=track),
            self._edge,
            self._answering,
            metrics.http_kind("ModelInfer"),
            guard,
            admin_guard,
        )
        docs = docs_routes(plane, self._edge, guard=guard, grpc_port=grpc_port, grpc_tls=grpc_tls)
        self._admin_limiter: CapacityLimiter | None = None
        self.app: Final = Starlette(
            routes=[*self._routes(), *open_inference.routes(), *docs],
            exception_handlers={HTTPException: _http_error},
        )
        self.app.router.redirect_slashes = False

    def _routes(self) -> list[Route]:
        anybody, admin = self._anybody, self._admin
        table: list[tuple[str, str, Endpoint]] = [
            ("/health", "GET", anybody(self._get_health)),
            ("/health/live", "GET", anybody(self._get_live)),
            ("/health/ready", "GET", anybody(self._get_ready)),
            ("/metrics", "GET", anybody(self._get_metrics)),
            ("/predict", "POST", self._answering.endpoint(self._followed, self._answer, self._fail)),
            ("/admin/reload", "POST", admin(self._reload)),
            ("/admin/rollback", "POST", admin(self._rollback)),
        ]
        return [
            Route(written, endpoint, methods=[method])
            for path, method, endpoint in table
            for written in (path, path + "/")
        ]

    def _anybody(self, work: _Work) -> Endpoint:
        return self._edge.endpoint(Asked(work, self._fail))

    def _admin(self, work: _Work) -> Endpoint:
        return self._edge.endpoint(Asked(work, self._fail, self._admin_guard))

    async def _get_health(self, _request: Request, _request_id: str) -> Response:
        return json_reply(self._health.content(), 200 if self._health.ready else 503)

    async def _get_live(self, _request: Request, _request_id: str) -> Response:
        return json_reply({"status": "live"})

    async def _get_ready(self, _request: Request, _request_id: str) -> Response:
        ready = self._health.ready
        return json_reply({"status": "ready" if ready else "not_ready"}, 200 if ready else 503)

    async def _get_metrics(self, request: Request, _request_id: str) -> Response:
        body, content_type = await to_thread.run_sync(
            render_metrics, self._registry, request.headers.get("accept")
        )
        return Response(body, headers={"content-type": content_type})

    def _answer(self, request: Request, body: bytes, request_id: str) -> Response:
        shadow = is_shadow(request.headers)
        answer = self._plane.predict(call_of(body, request_id, shadow=shadow, max_rows=self._plane.max_rows))
        return json_reply(content_of(answer), headers=self._headers(request_id, answer.generation.version))

    def _fail(self, failure: Failure, request_id: str) -> Response:
        return failure_reply(failure, self._headers(request_id))

    async def _reload(self, request: Request, request_id: str) -> Response:
        uri = asked_model_uri(await read_body(request, _MAX_ADMIN_BODY_BYTES))
        return await self._change(request_id, lambda: self._roster.reload(uri))

    async def _rollback(self, _request: Request, request_id: str) -> Response:
        return await self._change(request_id, self._roster.rollback)

    async def _change(self, request_id: str, change: Callable[[], SwapRecord]) -> Response:
        # Threads of their own: reloads take seconds, and waiting ones must not take those of predictions.
        self._admin_limiter = self._admin_limiter or CapacityLimiter(_MAX_WAITING_CHANGES)
        record = await to_thread.run_sync(change, limiter=self._admin_limiter)
        content = self._health.content()
        shown = {key: content[key] for key in ("model", "previous_model", "models", "last_swap")}
        return json_reply({"outcome": record.outcome, **shown}, headers=self._headers(request_id))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, sentence = "UNKNOWN", error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        code, sentence = "UNIMPLEMENTED", f"{request.method} is not allowed here; allowed: {allowed}"
    elif error.status_code == HTTPStatus.NOT_FOUND:
        code, sentence = "NOT_FOUND", f"no such path; there are {_PATHS}"
    if is_open_inference(request.url.path):
        return sentence_reply(error.status_code, sentence, headers=error.headers)
    return error_reply(error.status_code, code, sentence, headers=error.headers)
