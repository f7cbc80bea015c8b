"""The HTTP side of the relay: it reads within limits, asks the receiver, and answers with a status.

`POST /webhook` answers 202 when something new is wanted and 200 when there is nothing to do. MLflow sends again after
429 and 5xx alone, so 503 is for what may work later, and every 4xx is final.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import anyio
import orjson
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rollout.errors import InfrastructureError
from rollout.webhook_relay.errors import DeliveryError, MalformedError, StaleError, UnsignedError
from rollout.webhook_relay.metrics import EventOutcome, RelayMetrics
from rollout.webhook_relay.receiver import Receiver
from rollout.webhook_relay.signature import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Delivery
from telemetry import render_metrics

__all__ = ["create_app"]

#: MLflow sends its few hundred bytes at once; whoever trickles holds a connection.
_BODY_SECONDS: Final = 10.0
#: After which MLflow is to send again when the inbox cannot be written.
_RETRY_SECONDS: Final = "5"

_REFUSALS: Final[dict[type[DeliveryError], tuple[HTTPStatus, EventOutcome]]] = {
    UnsignedError: (HTTPStatus.UNAUTHORIZED, EventOutcome.UNSIGNED),
    StaleError: (HTTPStatus.UNAUTHORIZED, EventOutcome.STALE),
    MalformedError: (HTTPStatus.BAD_REQUEST, EventOutcome.MALFORMED),
}
_STATUSES: Final = {
    EventOutcome.ACCEPTED: HTTPStatus.ACCEPTED,
    EventOutcome.DUPLICATE: HTTPStatus.OK,
    EventOutcome.IGNORED: HTTPStatus.OK,
}

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


def create_app(
    receiver: Receiver, metrics: RelayMetrics, health: Callable[[], dict[str, Any]], max_body_bytes: int
) -> Starlette:
    """Return the application that answers for the relay; `health` says how it is."""
    routes = _Routes(receiver, metrics, health, max_body_bytes)
    return Starlette(
        routes=[
            Route("/webhook", routes.webhook, methods=["POST"]),
            Route("/healthz", routes.healthz),
            Route("/metrics", routes.metrics),
        ],
        exception_handlers={HTTPException: _not_served},
    )


class _RefusedError(Exception):
    """A request that is refused before anybody reads its content."""

    def __init__(self, status: HTTPStatus, outcome: EventOutcome, sentence: str) -> None:
        self.status, self.outcome = status, outcome
        super().__init__(sentence)


class _Routes:
    def __init__(
        self,
        receiver: Receiver,
        metrics: RelayMetrics,
        health: Callable[[], dict[str, Any]],
        max_body_bytes: int,
    ) -> None:
        self._receiver, self._metrics, self._health = receiver, metrics, health
        self._max_body_bytes = max_body_bytes

    async def webhook(self, request: Request) -> Response:
        """Take a delivery."""
        try:
            delivery = await self._read(request)
            outcome, model_uri = await run_in_threadpool(self._receiver.receive, delivery)
        except _RefusedError as refused:
            return self._refuse(refused.status, refused.outcome, refused)
        except DeliveryError as error:
            return self._refuse(*_REFUSALS[type(error)], error)
        except InfrastructureError as error:
            _log.error(str(error))
            sentence = Exception("the relay cannot keep the event now; its log says why")
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, EventOutcome.UNAVAILABLE, sentence)
        self._metrics.event(outcome)
        content = {"outcome": outcome} | ({"model_uri": model_uri} if model_uri else {})
        return _json(content, _STATUSES[outcome])

    async def healthz(self, _: Request) -> Response:
        """Answer 200 while events can be taken, with what is wrong elsewhere: a restart mends no registry."""
        try:
            return _json(await run_in_threadpool(self._health), HTTPStatus.OK)
        except InfrastructureError as error:
            _log.error(str(error))
            content = {
                "status": "failing",
                "error": "the inbox cannot be used; the log of the relay says why",
            }
            return _json(content, HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, request: Request) -> Response:
        """Answer the metrics in the format that the scraper prefers."""
        accept = request.headers.get("accept")
        body, content_type = await run_in_threadpool(render_metrics, self._metrics.registry, accept)
        return Response(body, headers={"content-type": content_type})

    async def _read(self, request: Request) -> Delivery:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            sentence = f"the content type is {media_type[:60]!r}, and webhooks of MLflow are application/json"
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, EventOutcome.WRONG_TYPE, sentence)
        try:
            with anyio.fail_after(_BODY_SECONDS):
                body = await self._read_body(request)
        except TimeoutError:
            sentence = f"the body did not come within {_BODY_SECONDS:.0f} s"
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, EventOutcome.ABANDONED, sentence) from None
        except ClientDisconnect:
            sentence = "the body was cut off"
            raise _RefusedError(HTTPStatus.BAD_REQUEST, EventOutcome.ABANDONED, sentence) from None
        headers = request.headers
        return Delivery(
            delivery_id=headers.get(DELIVERY_HEADER, ""),
            timestamp=headers.get(TIMESTAMP_HEADER, ""),
            signature=headers.get(SIGNATURE_HEADER, ""),
            body=body,
        )

    async def _read_body(self, request: Request) -> bytes:
        # Counted as it comes: a length may be missing, and may be a lie.
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                limit = f"{self._max_body_bytes} bytes are allowed (RELAY_MAX_BODY_BYTES)"
                sentence = f"the body is too large: at most {limit}"
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, EventOutcome.TOO_LARGE, sentence)
        return bytes(body)

    def _refuse(self, status: HTTPStatus, outcome: EventOutcome, error: Exception) -> Response:
        self._metrics.event(outcome)
        _log.warning("event refused", outcome=str(outcome), status=int(status), reason=str(error))
        headers = {"retry-after": _RETRY_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        return _json({"outcome": outcome, "error": str(error)}, status, headers)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = f"{request.method} {request.url.path} is not served here; POST /webhook, GET /healthz and /metrics are"
    return _json({"error": sentence}, error.status_code, dict(error.headers or {}))


def _json(content: object, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
