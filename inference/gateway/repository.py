"""What requests to the model repository ask in JSON."""

from typing import NamedTuple

import orjson

from inference.errors import InvalidRequestError, Violation
from inference.rows import quoted

__all__ = ["RepositoryAsked", "read_repository_request"]


class RepositoryAsked(NamedTuple):
    """A request for the index, a load or an unload."""

    #: List only models that are ready.
    ready: bool = False
    #: Names of the parameters, in order.
    parameters: tuple[str, ...] = ()


def read_repository_request(body: bytes) -> RepositoryAsked:
    """Read a body, which may be empty. Raises `InvalidRequestError`."""
    if not body.strip():
        return RepositoryAsked()
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid("body", f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _invalid("body", f"found {quoted(content)}, expected an object or nothing")
    ready, parameters = content.get("ready", False), content.get("parameters", {})
    if not isinstance(ready, bool):
        raise _invalid("ready", f"found {quoted(ready)}, expected true or false")
    if not isinstance(parameters, dict):
        raise _invalid("parameters", f"found {quoted(parameters)}, expected an object")
    return RepositoryAsked(ready, tuple(sorted(parameters)))


def _invalid(place: str, description: str) -> InvalidRequestError:
    return InvalidRequestError([Violation(place, description)])
