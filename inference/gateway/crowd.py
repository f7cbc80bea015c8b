"""How many requests are in work at one time over HTTP: waiting, running, or with a body on its way."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from inference.gateway.replies import error_reply, sentence_reply
from inference.gateway.v2 import is_open_inference

__all__ = ["Crowd"]

#: Answered whatever the load: who asks decides whether the process lives, and sees what is the matter.
_EXEMPT: Final = ("/health", "/metrics", "/v2/health")
_SENTENCE: Final = "too many requests are on their way; try again later"
_HEADERS: Final = {"retry-after": "1"}


class Crowd:
    """Answers 503 to requests beyond `most`, except those about health; connections alone do not count.

    Called in one event loop, so the count needs no lock.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http" or _is_exempt(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._in_work >= self._most:
            await _refusal(scope["path"])(scope, receive, send)
            return
        self._in_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_work -= 1


def _is_exempt(path: str) -> bool:
    return any(path == place or path.startswith(place + "/") for place in _EXEMPT)


def _refusal(path: str) -> ASGIApp:
    if is_open_inference(path):
        return sentence_reply(503, _SENTENCE, headers=_HEADERS)
    return error_reply(503, "UNAVAILABLE", _SENTENCE, headers=_HEADERS)
