"""The routes of the HTTP gateway."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from inference.core import DataPlane, is_shadow
from inference.gateway.admin import asked_model_uri
from inference.gateway.docs import docs_routes
from inference.gateway.health import HealthReport
from inference.gateway.predictions import call_of, content_of
from inference.gateway.replies import BodyTooLargeError, error_reply, failure_reply, json_reply, read_body
from inference.metrics import Metrics
from inference.roster import Roster
from inference.status import failure_of
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
    "/health, /health/live, /health/ready, /metrics, /predict, /docs, /openapi.json, "
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
        self._metrics = metrics
        self._registry: CollectorRegistry = metrics.exposed
        self._track = track
        self._max_body_bytes = max_body_bytes
        self._guard = guard
        self._admin_guard = admin_guard
        self._docs = docs_routes(plane, guard=guard, grpc_port=grpc_port, grpc_tls=grpc_tls)
        self._kind = metrics.http_kind("Predict")
        self._admin_limiter: CapacityLimiter | None = None
        self.app: Final = Starlette(
            routes=[*self._routes(), *self._docs],
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
        arrived = time.perf_counter()
        request_id = choose_correlation_id(request.headers)
        correlation_id.set(request_id)
        self._plane.tracing.start(_PREDICT, request.headers, arrived, request_id)
        admission = self._plane.admission
        kept_bytes = 0
        admission.enter()
        try:
            self._guard.check(request.headers, lambda: _address(request))
            if admission.over:
                raise admission.refusal()
            kept_bytes = _announced_bytes(request, self._max_body_bytes)
            admission.keep(kept_bytes)
            body = await read_body(request, self._max_body_bytes)
            content, version = await to_thread.run_sync(
                self._answer, body, request_id, is_shadow(request.headers)
            )
        except BodyTooLargeError as error:
            self._record("RESOURCE_EXHAUSTED", 413, arrived, request_id)
            return error_reply(413, "RESOURCE_EXHAUSTED", str(error), headers=self._headers(request_id))
        except ClientDisconnect:
            self._record("CANCELLED", 499, arrived, request_id)
            return Response(status_code=499)  # nobody reads it
        except Exception as error:  # noqa: BLE001  # the edge of the process
            self._metrics.shed_by(error)
            failure = failure_of(error, request_id)
            self._record(failure.code.name, failure.http_status, arrived, request_id)
            return self._failed(error, request_id)
        finally:
            admission.leave()
            admission.let_go(kept_bytes)
        self._record("OK", 200, arrived, request_id)
        return json_reply(content, headers=self._headers(request_id, version))

    def _answer(self, body: bytes, request_id: str, shadow: bool) -> tuple[dict[str, object], str]:
        answer = self._plane.predict(call_of(body, request_id, shadow=shadow))
        return content_of(answer), answer.generation.version

    def _record(self, code: str, http_status: int, arrived: float, request_id: str) -> None:
        self._metrics.ledger.record(self._kind, code, time.perf_counter() - arrived, request_id)
        self._plane.tracing.end(code, http_status)

    async def _reload(self, request: Request) -> Response:
        try:
            self._admin_guard.check(request.headers, lambda: _address(request))
            uri = asked_model_uri(await read_body(request, _MAX_ADMIN_BODY_BYTES))
        except BodyTooLargeError as error:
            return error_reply(413, "RESOURCE_EXHAUSTED", str(error))
        except Exception as error:  # noqa: BLE001  # the edge of the process
            return self._failed(error, choose_correlation_id(request.headers))
        return await self._change(request, lambda: self._roster.reload(uri))

    async def _rollback(self, request: Request) -> Response:
        try:
            self._admin_guard.check(request.headers, lambda: _address(request))
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

    def _headers(self, request_id: str, version: str | None = None) -> dict[str, str]:
        serving = self._plane.serving
        version = version or (serving.version if serving is not None else None)
        shown = {"x-model-version": version} if version else {}
        return {**shown, "x-deployment-track": self._track, "x-request-id": request_id}


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _announced_bytes(request: Request, at_most: int) -> int:
    """Return how many bytes of body to count before it is read: without a length it may be the most."""
    announced = request.headers.get("content-length", "")
    return min(int(announced), at_most) if announced.isdecimal() else at_most


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        sentence = f"{request.method} is not allowed here; allowed: {allowed}"
        return error_reply(405, "UNIMPLEMENTED", sentence, headers=error.headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_reply(404, "NOT_FOUND", f"no such path; there are {_PATHS}")
    return error_reply(error.status_code, "UNKNOWN", error.detail, headers=error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    return failure_reply(failure_of(error, choose_correlation_id(request.headers)), {})
