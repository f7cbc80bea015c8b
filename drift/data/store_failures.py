"""What an object store's refusal means.

The text of obstore's errors is read and never shown: a secret may stand in it.
"""

import re
from typing import Final

from drift.data.location import Location
from drift.data.stores import CREDENTIALS, ENDPOINTS
from drift.errors import UnreadableObjectError

__all__ = ["explain"]

_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})")
#: How obstore 0.12 speaks of credentials that it looked for and did not get, or that it cannot use.
_NO_CREDENTIALS: Final = re.compile(
    r"token request|169\.254\.169\.254|Account must be specified|Invalid Access Key|credential|private key|pem"
    r"|Missing (AccessKeyId|SecretAccessKey)",
    re.IGNORECASE,
)
_NO_ANSWER: Final = re.compile(
    r"HTTP error|error sending request|error decoding response body", re.IGNORECASE
)
_OTHER_REGION: Final = "incorrectly configured region"
_REFUSED: Final = ("401", "403")
_REFUSALS: Final = ("PermissionDeniedError", "UnauthenticatedError")


def explain(error: Exception, location: Location) -> UnreadableObjectError:
    """Return the sentence for an exception of obstore."""
    if isinstance(error, FileNotFoundError):
        reason = "is missing, there is no such object or bucket (404)"
        remedy = "check the bucket and the name, which are case-sensitive"
        return UnreadableObjectError(str(location), reason, remedy, missing=True)
    reason, remedy = _reason(error, str(location.store))
    return UnreadableObjectError(str(location), f"cannot be read, {reason}", remedy)


def _reason(error: Exception, store: str) -> tuple[str, str]:
    """Return reason and remedy."""
    text, kind = str(error).partition("Debug source")[0], type(error).__name__
    told = _STATUS.search(text)
    status = told.group(1) if told else ""
    address = f"try again, and check the address and {ENDPOINTS[store]}"
    for meant, reason, remedy in (
        (_OTHER_REGION in text, "its bucket lies in another region", "set AWS_REGION to that of the bucket"),
        (
            _NO_CREDENTIALS.search(text),
            "no usable credentials were found for its store",
            f"set {CREDENTIALS[store]}",
        ),
        (
            kind in _REFUSALS or status in _REFUSED,
            f"its store refuses these credentials ({status or 403})",
            f"check {CREDENTIALS[store]}, and that they may read this object",
        ),
        (kind == "PreconditionError", "it was replaced again and again while it was read", "try again"),
        (kind == "InvalidPathError", "no object can have such a name", "look in the URI for // and .."),
        (
            not status and _NO_ANSWER.search(text),
            "its store does not answer",
            f"check the network and {ENDPOINTS[store]}",
        ),
        (status, f"its store failed ({status})", address),
    ):
        if meant:
            return reason, remedy
    return f"its store failed with {kind}", address
