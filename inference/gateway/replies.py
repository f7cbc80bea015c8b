"""JSON replies: one shape for everything that goes wrong."""

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from inference.status import Code, Failure

__all__ = [
    "BodyTooLargeError",
    "error_reply",
    "failure_headers",
    "failure_reply",
    "json_reply",
    "read_body",
    "sentence_reply",
    "violations_of",
]

_JSON: Final = "application/json"


class BodyTooLargeError(Exception):
    """A request body is larger than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"the body has more than {limit_bytes} bytes (GRPC_MAX_MESSAGE_BYTES)")


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
    return sent


def violations_of(failure: Failure) -> list[dict[str, str]]:
    """Return the violations of `failure` as JSON has them."""
    return [{"field": v.field, "description": v.description} for v in failure.violations]


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body of `request`. Raises `BodyTooLargeError` as soon as it is seen to be."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise BodyTooLargeError(limit_bytes)
    return bytes(body)
