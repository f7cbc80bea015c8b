"""The HTTP routes: they ask the monitor, and only convert.

`GET /healthz` answers 200 while the service evaluates or waits for data, and 503 with the reason while
evaluations fail. It suits a readiness probe or an alert; a restart mends none of these failures, so that a
liveness probe should only ask whether the port accepts connections.
"""

import asyncio
import base64
import functools
import hashlib
import re
from http import HTTPStatus

import orjson
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from drift.errors import ShuttingDownError
from drift.evaluation import Outcome
from drift.monitor import Monitor, Status
from drift.service.status_page import render_status_page
from telemetry import render_metrics

__all__ = ["create_app"]


def create_app(monitor: Monitor, registry: CollectorRegistry) -> Starlette:
    """Return the application that answers for `monitor`."""
    routes = _Routes(monitor, registry)
    return Starlette(
        routes=[
            Route("/", routes.status_page),
            Route("/healthz", routes.healthz),
            Route("/metrics", routes.metrics),
            Route("/refresh", routes.refresh, methods=["POST"]),
            Route("/report", routes.report),
        ],
        exception_handlers={HTTPException: _refuse},
    )


class _Routes:
    # All of them are coroutines: nothing here waits for anything but the future of an evaluation.

    def __init__(self, monitor: Monitor, registry: CollectorRegistry) -> None:
        self._monitor, self._registry = monitor, registry

    async def status_page(self, _: Request) -> Response:
        """Answer the page for people."""
        return HTMLResponse(render_status_page(self._monitor.state, self._monitor.health()))

    async def healthz(self, _: Request) -> Response:
        """Answer 200 while the service evaluates or waits for data, 503 while evaluations fail."""
        health = self._monitor.health()
        failing = health.status is Status.FAILING
        return _json(health, HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK)

    async def metrics(self, request: Request) -> Response:
        """Answer the metrics in the format that the scraper prefers."""
        body, content_type = render_metrics(self._registry, request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    async def refresh(self, _: Request) -> Response:
        """Evaluate now, or join the evaluation under way; 503 when it fails or the service is ending."""
        try:
            future = asyncio.wrap_future(self._monitor.refresh())
            # Not awaited itself: a caller that goes away must not cancel the evaluation of those who joined it.
            await asyncio.wait([future])
            if future.cancelled():  # by the monitor's end, before it began
                raise ShuttingDownError
        except ShuttingDownError as ending:
            return _json({"error": str(ending)}, HTTPStatus.SERVICE_UNAVAILABLE)
        evaluation = future.result()
        error = evaluation.outcome is Outcome.ERROR
        return _json(evaluation, HTTPStatus.SERVICE_UNAVAILABLE if error else HTTPStatus.OK)

    async def report(self, _: Request) -> Response:
        """Answer Evidently's page of the last verdict."""
        html = self._monitor.state.report_html
        if html is None:
            reason = self._monitor.health().reason
            sentence = f"There is no report yet: {reason}. POST /refresh evaluates now."
            return _json({"error": sentence}, HTTPStatus.NOT_FOUND)
        return HTMLResponse(html, headers={"content-security-policy": _policy_of(html)})


@functools.lru_cache(maxsize=1)
def _policy_of(html: bytes) -> str:
    """Allow the scripts that the page has, by their digests, and nothing from anywhere: it holds foreign labels."""
    digests = {
        hashlib.sha256(script).digest() for script in re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    }
    scripts = " ".join(sorted(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = (
        f"{request.method} {request.url.path} is not served here; "
        "GET /, /healthz, /metrics, /report and POST /refresh are"
    )
    return _json({"error": sentence}, error.status_code, error.headers)


def _json(content: object, status: int, headers: object = None) -> Response:
    response = Response(orjson.dumps(content), status, media_type="application/json")
    if isinstance(headers, dict):
        response.headers.update(headers)
    return response
