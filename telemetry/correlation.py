"""The correlation id: one identifier that a request keeps through logs, events and trailers."""

import random
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

__all__ = ["CORRELATION_HEADERS", "choose_correlation_id", "correlation_id"]

#: Headers that may carry a caller's identifier, most specific first. `traceparent` is W3C Trace Context.
CORRELATION_HEADERS: Final = ("x-request-id", "x-correlation-id", "traceparent")

#: The identifier of the request that this thread or task works on; empty outside a request.
correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

# Long enough for every id in use, short enough that a caller cannot fill the log. ASCII, no spaces or quotes.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/=+@-]{1,128}")
# Version ff and ids of only zeros are invalid (W3C Trace Context, section 3.2.2).
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def choose_correlation_id(headers: Mapping[str, str]) -> str:
    """Return the caller's identifier, or a new one when there is none that can be logged safely.

    `headers` has lower-case names, as gRPC metadata and ASGI give them. Of a `traceparent` only the trace
    id (32 hexadecimal digits) is taken.
    """
    for name in CORRELATION_HEADERS:
        value = headers.get(name)
        if not value:
            continue
        if name == "traceparent":
            trace = _TRACEPARENT.fullmatch(value)
            if trace:
                return trace.group(1)
        elif _ACCEPTABLE.fullmatch(value):
            return value
    return random.getrandbits(128).to_bytes(16).hex()  # unique, not secret; uuid4 would ask the kernel
