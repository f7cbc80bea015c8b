"""The edge of the process over HTTP: one identifier a request, and one place that catches what goes wrong."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from inference.gateway.replies import BodyLateError, BodyTooLargeError
from inference.ledger import RequestKind
from inference.metrics import Metrics
from inference.status import CLIENT_CLOSED_REQUEST, Code, Failure, failure_of
from inference.tokens import TokenGuard
from inference.tracing import Operation, Tracing
from telemetry import choose_correlation_id, correlation_id

__all__ = ["Asked", "Edge", "Endpoint", "Followed", "address_of"]

Endpoint = Callable[[Request], Awaitable[Response]]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Followed(NamedTuple):
    """What counts and traces a kind of request."""

    kind: RequestKind
    operation: Operation


class Asked(NamedTuple):
    """One kind of request, all of whose errors are caught here."""

    #: Answers a request, given its identifier.
    work: Callable[[Request, str], Awaitable[Response]]
    #: Makes the reply of a failure, given the identifier of the request.
    fail: Callable[[Failure, str], Response]
    #: Who may ask; None: anybody.
    guard: TokenGuard | None = None
    #: None for requests that are neither counted nor traced.
    followed: Followed | None = None


class Edge:
    """Makes endpoints of what is asked."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def endpoint(self, asked: Asked) -> Endpoint:
        """Return what a route calls; it raises nothing."""

        async def answer(request: Request) -> Response:
            arrived = time.perf_counter()
            # Chosen once: what the log, the trace and the caller are told is the same.
            request_id = choose_correlation_id(request.headers)
            correlation_id.set(request_id)
            if asked.followed is not None:
                self._tracing.start(asked.followed.operation, request.headers, arrived, request_id)
            code, http_status = Code.OK, 200
            try:
                if asked.guard is not None:
                    asked.guard.check(request.headers, lambda: address_of(request))
                response = await asked.work(request, request_id)
            except Exception as error:  # noqa: BLE001  # the edge of the process
                failure = self._failure_of(error, request_id)
                code, http_status = failure.code, failure.http_status
                response = asked.fail(failure, request_id)
            if asked.followed is not None:
                seconds = time.perf_counter() - arrived
                self._metrics.ledger.record(asked.followed.kind, code.name, seconds, request_id)
                self._tracing.end(code.name, http_status)
            return response

        return answer

    def _failure_of(self, error: Exception, request_id: str) -> Failure:
        if isinstance(error, BodyTooLargeError):
            return Failure(Code.RESOURCE_EXHAUSTED, 413, str(error))
        if isinstance(error, BodyLateError):  # counted as over gRPC: the caller is at fault, not the server
            return Failure(Code.CANCELLED, 408, str(error))
        if isinstance(error, ClientDisconnect):
            return Failure(Code.CANCELLED, CLIENT_CLOSED_REQUEST, "the caller has gone")
        self._metrics.shed_by(error)
        failure = failure_of(error, request_id)
        if failure.is_defect:
            _log.error("request failed", exc_info=error)
        return failure


def address_of(request: Request) -> str:
    """Return the address that a request comes from."""
    return request.client.host if request.client is not None else ""
