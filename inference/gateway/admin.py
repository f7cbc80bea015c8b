"""Requests to change the model: what they ask, and on which port they are answered."""

from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from inference.artifacts import parse_model_uri
from inference.errors import InvalidRequestError, ModelNotFoundError, Violation
from inference.gateway.replies import error_reply

__all__ = ["AdminPaths", "PublicPaths", "asked_model_uri"]

_ADMIN: Final = "/admin"
#: Load and unload of the Open Inference Protocol change the model too.
_REPOSITORY: Final = "/v2/repository"


class PublicPaths:
    """Passes on every request but those to /admin, which another port answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        app = self._app
        if scope["type"] == "http" and _is_below(scope["path"], _ADMIN):
            app = error_reply(404, "NOT_FOUND", "no such path here: /admin/* is answered on ADMIN_HOST alone")
        await app(scope, receive, send)


class AdminPaths:
    """Passes on requests to change the model, and no others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        app = self._app
        if scope["type"] == "http" and not any(
            _is_below(scope["path"], path) for path in (_ADMIN, _REPOSITORY)
        ):
            sentence = (
                "no such path here: ADMIN_PORT answers /admin/* and /v2/repository/*, HTTP_PORT the rest"
            )
            app = error_reply(404, "NOT_FOUND", sentence)
        await app(scope, receive, send)


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")


def asked_model_uri(body: bytes) -> str | None:
    """Return the `model_uri` of a reload's body, which may be empty. Raises `InvalidRequestError`."""
    if not body.strip():
        return None
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError([Violation("body", f"is not JSON: {error}")]) from None
    if not isinstance(content, dict) or content.keys() - {"model_uri"}:
        raise InvalidRequestError([Violation("body", 'expected {"model_uri": "models:/name/2"} or nothing')])
    uri = content.get("model_uri")
    if uri is None:
        return None
    if not isinstance(uri, str):
        raise InvalidRequestError([Violation("model_uri", "expected models:/… or runs:/… as text")])
    try:
        parse_model_uri(uri)
    except ModelNotFoundError as error:
        raise InvalidRequestError([Violation("model_uri", f"{error.reason}; {error.existing}")]) from None
    return uri
