"""What a fetching process is told and what it answers: one JSON object each way.

The request goes through standard input, because arguments of a process are visible to everybody on the
machine and it holds the credentials. Errors come back with their data, so that the parent raises the same.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from inference.artifacts.child import Limits
from inference.artifacts.repository import Credentials
from inference.errors import (
    BundleError,
    CacheError,
    InferenceError,
    ModelNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)

__all__ = ["Reply", "Request", "decode_reply", "encode_error"]

_FIELDS: Final[dict[type[InferenceError], tuple[str, ...]]] = {
    ModelNotFoundError: ("model_uri", "reason", "existing", "remedy"),
    RegistryUnavailableError: ("registry", "reason"),
    BundleError: ("bundle", "reason", "remedy"),
    CacheError: ("directory", "reason"),
    RegistryError: (),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch. `timeout_seconds` bounds the whole of it; single answers get a share.

    `max_cache_bytes` is the quota of the cache (None: none). `signature_required` asks for the detached
    signature too. `allow_pickle` and `memory_bytes` are for models that are compiled when fetched.
    """

    model_uri: str
    tracking_uri: str
    cache_dir: Path
    credentials: Credentials
    timeout_seconds: float
    max_cache_bytes: int | None = None
    signature_required: bool = False
    allow_pickle: bool = False
    memory_bytes: int = Limits().memory_bytes

    def to_json(self) -> str:
        """Write the request as JSON."""
        return json.dumps({**asdict(self), "cache_dir": str(self.cache_dir)})

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read a request that `to_json` wrote."""
        fields = json.loads(text)
        fields["credentials"] = Credentials(**fields["credentials"])
        fields["cache_dir"] = Path(fields["cache_dir"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Reply:
    """What was fetched: the bundle `digest` is in the cache. `warning` is empty, or one for the log.

    `fingerprint` is the state of the registry's file before it was read, if it has one.
    """

    name: str
    version: str
    digest: str
    server_version: str
    warning: str = ""
    fingerprint: str = ""

    def to_json(self) -> str:
        """Write the reply as one line of JSON."""
        return json.dumps(asdict(self))


def encode_error(error: InferenceError, redact: Callable[[str], str]) -> str:
    """Write an error as one line of JSON; `redact` takes secrets out of its texts."""
    kind = next(kind for kind in _FIELDS if isinstance(error, kind))
    attributes = {field: redact(str(getattr(error, field))) for field in _FIELDS[kind]}
    return json.dumps({"error": kind.__name__, "message": redact(str(error)), "attributes": attributes})


def decode_reply(line: str) -> Reply:
    """Read the answer of a fetching process; raises the error that it raised.

    Raises `ValueError` when the line is no answer at all.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("the answer is not a JSON object")
    if "error" not in fields:
        try:
            return Reply(**fields)
        except TypeError as error:
            raise ValueError(str(error)) from error
    kinds = {kind.__name__: kind for kind in _FIELDS}
    kind = kinds.get(fields["error"])
    if kind is None:
        raise ValueError(f"the answer has the unknown error {fields['error']!r}")
    raise kind(**fields["attributes"]) if fields["attributes"] else kind(fields["message"])
