"""The HTTP routes: they ask the monitor and the history, and only convert.

`GET /healthz` answers 200 while the service evaluates or waits for data, and 503 with the reason while
evaluations fail. It suits a readiness probe or an alert; a restart mends none of these failures, so that a
liveness probe should only ask whether the port accepts connections.
"""

import asyncio
import time
from concurrent.futures import Future
from dataclasses import fields
from http import HTTPStatus
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

import orjson
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from drift.errors import DriftError, HistoryRequestError, ShuttingDownError
from drift.evaluation import Evaluation, Outcome
from drift.monitor import Monitor, Status
from drift.service import queries
from drift.service.history import History
from drift.service.page import PAGE_POLICY, content_of, render
from drift.service.report_policy import report_policy
from drift.service.run import Run, run_of
from telemetry import render_metrics

__all__ = ["DrawsReports", "create_app"]

#: What answers show is of this moment, and a browser reads it as what it is said to be.
_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
Result = TypeVar("Result")


class DrawsReports(Protocol):
    """Draws Evidently's page when it is asked to."""

    def report(self) -> Future[bytes] | None:
        """Begin to draw the page of the last verdict, or join who does; None before the first one.

        Its future raises `DriftError`.
        """


def create_app(
    monitor: Monitor, reports: DrawsReports, registry: CollectorRegistry, history: History
) -> Starlette:
    """Return the application that answers for `monitor`."""
    routes = _Routes(monitor, reports, registry, history)
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/healthz", routes.healthz),
            Route("/metrics", routes.metrics),
            Route("/refresh", routes.refresh, methods=["POST"]),
            Route("/report", routes.report),
            Route("/api/history", routes.api_history),
        ],
        exception_handlers={HTTPException: _refuse, DriftError: _fail},
    )


class _Routes:
    # Those that wait for futures are coroutines. Those that read the history are not: Starlette runs them in
    # threads, since a page of a hundred features takes a tenth of a second, and /healthz must not wait for it.

    def __init__(
        self, monitor: Monitor, reports: DrawsReports, registry: CollectorRegistry, history: History
    ) -> None:
        self._monitor, self._reports = monitor, reports
        self._registry, self._history = registry, history

    def page(self, request: Request) -> Response:
        """Answer the page for people."""
        asked = queries.page_request(request.query_params)
        content = content_of(
            self._monitor.health(),
            self._monitor.state.verdict,
            self._history,
            now=time.time(),
            span=asked.span,
        )
        page = render(content, refreshing=asked.refreshing)
        return HTMLResponse(page, headers={**_HEADERS, "content-security-policy": PAGE_POLICY})

    def api_history(self, request: Request) -> Response:
        """Answer a piece of the history, newest first, and where the next one begins."""
        asked = queries.history_request(request.query_params)
        # One more than asked for tells whether there is more.
        runs = self._history.runs(asked.limit + 1, asked.before)
        shown = runs[: asked.limit]
        more = shown[-1].id if len(runs) > len(shown) else None
        return _json({"runs": shown, "next_before": more}, HTTPStatus.OK)

    async def healthz(self, _: Request) -> Response:
        """Answer 200 while the service evaluates or waits for data, 503 while evaluations fail."""
        health = self._monitor.health()
        failing = health.status is Status.FAILING
        return _json(health, HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK)

    async def metrics(self, request: Request) -> Response:
        """Answer the metrics in the format that the scraper prefers."""
        body, content_type = render_metrics(self._registry, request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    async def refresh(self, request: Request) -> Response:
        """Evaluate now, or join the evaluation under way; 503 when it fails or the service is ending.

        A browser that pressed the button of the page goes back to the page, which shows the result.
        """
        if _is_of_another_page(request):
            sentence = (
                "POST /refresh is not for pages of others; ask from this monitor's page, or without a browser"
            )
            return _json({"error": sentence}, HTTPStatus.FORBIDDEN)
        evaluation = await _wait_for(self._monitor.refresh())
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("./", HTTPStatus.SEE_OTHER)
        error = evaluation.outcome is Outcome.ERROR
        return _json(_result(evaluation), HTTPStatus.SERVICE_UNAVAILABLE if error else HTTPStatus.OK)

    async def report(self, _: Request) -> Response:
        """Answer Evidently's page of the last verdict; 404 before the first, 503 when it cannot be drawn."""
        drawing = self._reports.report()
        if drawing is None:
            sentence = (
                f"There is no report yet: {self._monitor.health().reason}. POST /refresh evaluates now."
            )
            return _json({"error": sentence}, HTTPStatus.NOT_FOUND)
        html = await _wait_for(drawing)
        return HTMLResponse(html, headers={**_HEADERS, "content-security-policy": report_policy(html)})


def _result(evaluation: Evaluation) -> dict[str, object]:
    """Return the run as the history gives it, without its id, and what the history keeps of no run beside it."""
    run = run_of(evaluation)
    everything = {field.name: getattr(evaluation, field.name) for field in fields(Evaluation)}
    return everything | {field.name: getattr(run, field.name) for field in fields(Run) if field.name != "id"}


def _is_of_another_page(request: Request) -> bool:
    """Whether a browser sends this for a page from elsewhere; programs send no Origin."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    # A proxy may tell its own name; a foreign page cannot make a browser send that header.
    return origin is not None and urlsplit(origin).netloc not in {
        host,
        request.headers.get("x-forwarded-host"),
    }


async def _wait_for(work: Future[Result]) -> Result:
    """Return the result of `work`. Raises `ShuttingDownError` when the monitor's end cancels it."""
    future = asyncio.wrap_future(work)
    # Not awaited itself: a caller that goes away must not cancel the work of those who joined it.
    await asyncio.wait([future])
    if future.cancelled():  # by the monitor's end, before it began
        raise ShuttingDownError
    return future.result()


async def _fail(_: Request, error: Exception) -> Response:
    wrong = isinstance(error, HistoryRequestError)
    return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST if wrong else HTTPStatus.SERVICE_UNAVAILABLE)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = (
        f"{request.method} {request.url.path} is not served here; "
        "GET /, /api/history, /healthz, /metrics, /report and POST /refresh are"
    )
    return _json({"error": sentence}, error.status_code, error.headers)


def _json(content: object, status: int, headers: object = None) -> Response:
    response = Response(
        orjson.dumps(content, dict, orjson.OPT_SERIALIZE_NUMPY),  # a read-only mapping becomes a dict
        status,
        media_type="application/json",
        headers=_HEADERS,
    )
    if isinstance(headers, dict):
        response.headers.update(headers)
    return response
