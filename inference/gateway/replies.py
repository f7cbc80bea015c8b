"""JSON replies: one shape for everything that goes wrong."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from inference.status import Code, Failure

__all__ = [
    "MESSAGE_SECONDS",
    "BodyLateError",
    "BodyTooLargeError",
    "error_reply",
    "failure_headers",
    "failure_reply",
    "json_reply",
    "read_body",
    "sentence_reply",
    "violations_of",
]

#: How long a body may take to come: 16 MiB at 7 Mbit/s, as the message of a gRPC call.
MESSAGE_SECONDS: Final = 20.0
_JSON: Final = "application/json"


class BodyTooLargeError(Exception):
    """A request body is larger than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"the body has more than {limit_bytes} bytes (GRPC_MAX_MESSAGE_BYTES)")


class BodyLateError(Exception):
    """A request body does not come."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the body did not come within {seconds:g} seconds")


def json_reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `content` as JSON."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, headers, media_type=_JSON)


def error_reply(
    status: int,
    code: str,
    message: str,
    *,
    violations: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error; `code` is the name of a gRPC status."""
    error = {"code": code, "message": message, "violations": violations or []}
    return json_reply({"error": error}, status, headers)


def failure_reply(failure: Failure, headers: Mapping[str, str]) -> Response:
    """Return `failure` as JSON, with Retry-After where waiting helps."""
    return error_reply(
        failure.http_status,
        failure.code.name,
        failure.sentence,
        violations=violations_of(failure),
        headers=failure_headers(failure, headers),
    )


def sentence_reply(
    status: int,
    sentence: str,
    *,
    violations: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in the form of the Open Inference Protocol, where `error` is text."""
    content = {"error": sentence, **({"violations": violations} if violations else {})}
    return json_reply(content, status, headers)


def failure_headers(failure: Failure, headers: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` and those that `failure` adds."""
    sent = dict(headers)
    if failure.retry_ms is not None and failure.retry_ms >= 0:
        sent["retry-after"] = str(-(-failure.retry_ms // 1000))  # whole seconds, rounded up
    if failure.code is Code.UNAUTHENTICATED:
        sent["www-authenticate"] = "Bearer"
    if failure.http_status == HTTPStatus.REQUEST_TIMEOUT:
        sent["connection"] = "close"  # RFC 9110, section 15.5.9; what comes later would be read as a request
    return sent


def violations_of(failure: Failure) -> list[dict[str, str]]:
    """Return the violations of `failure` as JSON has them."""
    return [{"field": v.field, "description": v.description} for v in failure.violations]


async def read_body(
    request: Request, limit_bytes: int, keep: Callable[[int], None] = lambda _size_bytes: None
) -> bytes:
    """Read the body of `request`, and let `keep` count its bytes as they come.

    Raises `BodyTooLargeError` as soon as it is seen to be, `BodyLateError`, and what `keep` raises.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            async for chunk in request.stream():
                keep(len(chunk))
                body += chunk
                if len(body) > limit_bytes:
                    raise BodyTooLargeError(limit_bytes)
    except TimeoutError:
        raise BodyLateError(MESSAGE_SECONDS) from None
    return bytes(body)
