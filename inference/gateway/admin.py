"""Who may change the model over HTTP, and what they ask."""

import hmac
from collections.abc import Mapping

import orjson

from inference.errors import InvalidRequestError, Violation

__all__ = ["AdminTokens", "asked_model_uri"]


class AdminTokens:
    """Compares what a request shows with the one token; without a token nobody may."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None

    @property
    def enabled(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Tell whether `headers` show the token, in a time that says nothing of it."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = headers.get("x-admin-token") or (bearer.strip() if scheme.lower() == "bearer" else "")
        return self._token is not None and hmac.compare_digest(shown.encode(), self._token)


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
    if uri is not None and not (isinstance(uri, str) and uri.startswith(("models:/", "runs:/"))):
        raise InvalidRequestError([Violation("model_uri", "expected models:/… or runs:/… as text")])
    return uri
