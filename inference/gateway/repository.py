"""What requests to the model repository ask in JSON."""

from typing import NamedTuple

import orjson

from inference.gateway.json_fields import invalid, object_of
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
        content = object_of(orjson.loads(body), "body", "an object or nothing")
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"is not JSON: {error}") from None
    ready = content.get("ready", False)
    if not isinstance(ready, bool):
        raise invalid("ready", f"found {quoted(ready)}, expected true or false")
    parameters = object_of(content.get("parameters", {}), "parameters")
    return RepositoryAsked(ready, tuple(sorted(parameters)))
