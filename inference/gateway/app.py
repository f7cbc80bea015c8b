"""The routes of the HTTP gateway."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.core import DataPlane, is_shadow
from inference.gateway.admin import asked_model_uri
from inference.gateway.answering import Answering, Asked, address_of
from inference.gateway.docs import docs_routes
from inference.gateway.health import HealthReport
from inference.gateway.predictions import call_of, content_of
from inference.gateway.replies import (
    BodyTooLargeError,
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
from inference.status import Failure, failure_of
from inference.swap import SwapRecord
from inference.tokens import TokenGuard
from inference.tracing import http_operation
from telemetry import choose_correlation_id, correlation_id, render_metrics

__all__ = ["Gateway"]

_Endpoint = Callable[[Request], Awaitable[Response]]

#: A reload's body is one URI.
_MAX_ADMIN_BODY_BYTES: Final = 16 * 1024
#: Threads in which changes of the model wait for each other; those beyond wait without a thread.
_MAX_WAITING_CHANGES: Final = 8
_PREDICT: Final = http_operation("POST", "/predict")
_PATHS: Final = (
    "/health, /health/live, /health/ready, /metrics, /predict, /v2, /docs, /openapi.json, "
    "/admin/reload, /admin/rollback"
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


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
        self._docs = docs_routes(plane, guard=guard, grpc_port=grpc_port, grpc_tls=grpc_tls)
        answering = Answering(plane, metrics, guard, track=track, max_body_bytes=max_body_bytes)
        self._answering = answering
        self._headers = answering.headers
        self._asked = Asked(metrics.http_kind("Predict"), _PREDICT, self._answer, self._fail)
        self._open_inference = OpenInferenceGateway(
            OpenInference(plane, roster, track=track),
            answering,
            metrics.http_kind("ModelInfer"),
            guard,
            admin_guard,
        )
        self._admin_limiter: CapacityLimiter | None = None
        self.app: Final = Starlette(
            routes=[*self._routes(), *self._open_inference.routes(), *self._docs],
            exception_handlers={HTTPException: _http_error, Exception: _defect},
        )
        self.app.router.redirect_slashes = False

    def _routes(self) -> list[Route]:
        table: list[tuple[str, str, _Endpoint]] = [
            ("/health", "GET", self._get_health),
            ("/health/live", "GET", self._get_live),
            ("/health/ready", "GET", self._get_ready),
            ("/metrics", "GET", self._get_metrics),
            ("/predict", "POST", self._predict),
            ("/admin/reload", "POST", self._reload),
            ("/admin/rollback", "POST", self._rollback),
        ]
        return [
            Route(written, endpoint, methods=[method])
            for path, method, endpoint in table
            for written in (path, path + "/")
        ]

    async def _get_health(self, _request: Request) -> Response:
        return json_reply(self._health.content(), 200 if self._health.ready else 503)

    async def _get_live(self, _request: Request) -> Response:
        return json_reply({"status": "live"})

    async def _get_ready(self, _request: Request) -> Response:
        ready = self._health.ready
        return json_reply({"status": "ready" if ready else "not_ready"}, 200 if ready else 503)

    async def _get_metrics(self, request: Request) -> Response:
        body, content_type = await to_thread.run_sync(
            render_metrics, self._registry, request.headers.get("accept")
        )
        return Response(body, headers={"content-type": content_type})

    async def _predict(self, request: Request) -> Response:
        return await self._answering.predict(request, self._asked)

    def _answer(self, request: Request, body: bytes, request_id: str) -> Response:
        answer = self._plane.predict(call_of(body, request_id, shadow=is_shadow(request.headers)))
        return json_reply(content_of(answer), headers=self._headers(request_id, answer.generation.version))

    def _fail(self, failure: Failure, request_id: str) -> Response:
        return failure_reply(failure, self._headers(request_id))

    async def _reload(self, request: Request) -> Response:
        try:
            self._admin_guard.check(request.headers, lambda: address_of(request))
            uri = asked_model_uri(await read_body(request, _MAX_ADMIN_BODY_BYTES))
        except BodyTooLargeError as error:
            return error_reply(413, "RESOURCE_EXHAUSTED", str(error))
        except Exception as error:  # noqa: BLE001  # the edge of the process
            return self._failed(error, choose_correlation_id(request.headers))
        return await self._change(request, lambda: self._roster.reload(uri))

    async def _rollback(self, request: Request) -> Response:
        try:
            self._admin_guard.check(request.headers, lambda: address_of(request))
        except Exception as error:  # noqa: BLE001  # the edge of the process
            return self._failed(error, choose_correlation_id(request.headers))
        return await self._change(request, self._roster.rollback)

    async def _change(self, request: Request, change: Callable[[], SwapRecord]) -> Response:
        request_id = choose_correlation_id(request.headers)
        correlation_id.set(request_id)
        # Threads of their own: reloads take seconds, and waiting ones must not take those of predictions.
        self._admin_limiter = self._admin_limiter or CapacityLimiter(_MAX_WAITING_CHANGES)
        try:
            record = await to_thread.run_sync(change, limiter=self._admin_limiter)
        except Exception as error:  # noqa: BLE001  # the edge of the process
            return self._failed(error, request_id)
        content = self._health.content()
        shown = {key: content[key] for key in ("model", "previous_model", "models", "last_swap")}
        return json_reply({"outcome": record.outcome, **shown}, headers=self._headers(request_id))

    def _failed(self, error: Exception, request_id: str) -> Response:
        failure = failure_of(error, request_id)
        if failure.is_defect:
            _log.error("request failed", exc_info=error)
        return failure_reply(failure, self._headers(request_id))


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


async def _defect(request: Request, error: Exception) -> Response:
    return failure_reply(failure_of(error, choose_correlation_id(request.headers)), {})
