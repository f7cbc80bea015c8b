"""What requests for predictions share over HTTP: admission, the body, counting, and statuses for what goes wrong."""

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from inference.core import DataPlane
from inference.gateway.replies import BodyTooLargeError, read_body
from inference.ledger import RequestKind
from inference.metrics import Metrics
from inference.status import CLIENT_CLOSED_REQUEST, Code, Failure, failure_of
from inference.tokens import TokenGuard
from inference.tracing import Operation
from telemetry import choose_correlation_id, correlation_id

__all__ = ["Answering", "Asked", "address_of"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Asked(NamedTuple):
    """One kind of request for predictions."""

    kind: RequestKind
    operation: Operation
    #: Answers the body of a request, given its identifier, on a thread.
    answer: Callable[[Request, bytes, str], Response]
    #: Makes the reply of a failure, given the identifier of the request.
    fail: Callable[[Failure, str], Response]


class Answering:
    """Answers requests for predictions from the data plane."""

    def __init__(
        self, plane: DataPlane, metrics: Metrics, guard: TokenGuard, *, track: str, max_body_bytes: int
    ) -> None:
        self._plane = plane
        self._metrics = metrics
        self._guard = guard
        self._track = track
        self._max_body_bytes = max_body_bytes

    async def predict(self, request: Request, asked: Asked) -> Response:
        """Answer one request, or refuse it."""
        arrived = time.perf_counter()
        request_id = choose_correlation_id(request.headers)
        correlation_id.set(request_id)
        self._plane.tracing.start(asked.operation, request.headers, arrived, request_id)
        admission = self._plane.admission
        kept_bytes = 0
        admission.enter()
        try:
            self._guard.check(request.headers, lambda: address_of(request))
            if admission.over:
                raise admission.refusal()
            kept_bytes = _announced_bytes(request, self._max_body_bytes)
            admission.keep(kept_bytes)
            body = await read_body(request, self._max_body_bytes)
            response = await to_thread.run_sync(asked.answer, request, body, request_id)
        except BodyTooLargeError as error:
            self._record(asked, Code.RESOURCE_EXHAUSTED, 413, arrived, request_id)
            return asked.fail(Failure(Code.RESOURCE_EXHAUSTED, 413, str(error)), request_id)
        except ClientDisconnect:
            self._record(asked, Code.CANCELLED, CLIENT_CLOSED_REQUEST, arrived, request_id)
            return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody reads it
        except Exception as error:  # noqa: BLE001  # the edge of the process
            self._metrics.shed_by(error)
            failure = failure_of(error, request_id)
            if failure.is_defect:
                _log.error("request failed", exc_info=error)
            self._record(asked, failure.code, failure.http_status, arrived, request_id)
            return asked.fail(failure, request_id)
        finally:
            admission.leave()
            admission.let_go(kept_bytes)
        self._record(asked, Code.OK, 200, arrived, request_id)
        return response

    def headers(self, request_id: str, version: str | None = None) -> dict[str, str]:
        """Return the headers of a reply; without a version those of the default model."""
        serving = self._plane.serving
        version = version or (serving.version if serving is not None else None)
        shown = {"x-model-version": version} if version else {}
        return {**shown, "x-deployment-track": self._track, "x-request-id": request_id}

    def _record(self, asked: Asked, code: Code, http_status: int, arrived: float, request_id: str) -> None:
        self._metrics.ledger.record(asked.kind, code.name, time.perf_counter() - arrived, request_id)
        self._plane.tracing.end(code.name, http_status)


def address_of(request: Request) -> str:
    """Return the address that a request comes from."""
    return request.client.host if request.client is not None else ""


def _announced_bytes(request: Request, at_most: int) -> int:
    """Return how many bytes of body to count before it is read: without a length it may be the most."""
    announced = request.headers.get("content-length", "")
    return min(int(announced), at_most) if announced.isdecimal() else at_most
