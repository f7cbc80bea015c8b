"""What requests to change the model ask."""

import orjson

from inference.errors import InvalidRequestError, Violation

__all__ = ["asked_model_uri"]


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
