"""What an object store's refusal means: three libraries, each with exceptions of its own, and few meanings."""

from collections.abc import Iterator
from typing import Final

from training.errors import ExitCode

__all__ = ["explain"]

_NO_CREDENTIALS: Final = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "DefaultCredentialsError",
    "RefreshError",
    "CredentialUnavailableError",
}
_NO_ANSWER: Final = {
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ServerDisconnectedError",
    "ServiceRequestError",
    "ServiceResponseError",
    "TransportError",
    "ConnectionRefusedError",
    "TimeoutError",
    "FSTimeoutError",
    "gaierror",
}
_REFUSED: Final = (401, 403)
_NOT_FOUND: Final = 404


def explain(error: BaseException, credentials: str, endpoint: str) -> tuple[str, str, ExitCode]:
    """Return reason, remedy and exit code of an error, without its text, in which a secret may stand."""
    chain = list(_chain(error))
    names = {kind.__name__ for found in chain for kind in type(found).__mro__}
    statuses = {status for found in chain if (status := _status(found)) is not None}
    if names & _NO_CREDENTIALS or isinstance(error, ValueError):
        return (
            "no usable credentials were found for its store",
            f"set {credentials}",
            ExitCode.INFRASTRUCTURE,
        )
    if "FileNotFoundError" in names or _NOT_FOUND in statuses:
        remedy = "check the bucket and the path; names are case-sensitive"
        return "there is no such object or bucket (404)", remedy, ExitCode.USAGE
    refused = statuses.intersection(_REFUSED)
    if refused or names & {"PermissionError", "ClientAuthenticationError"}:
        reason = f"its store refuses these credentials ({max(refused, default=403)})"
        remedy = f"check {credentials}, and that they may read this object"
        return reason, remedy, ExitCode.INFRASTRUCTURE
    if names & _NO_ANSWER:
        remedy = f"check the network and {endpoint}"
        return "its store does not answer", remedy, ExitCode.INFRASTRUCTURE
    told = f"its store failed with {type(error).__name__}" + "".join(f" ({status})" for status in statuses)
    return told, f"try again, and check the address and {endpoint}", ExitCode.INFRASTRUCTURE


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what caused it, innermost last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, wherever its library puts it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:  # Azure and gcsfs
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
    try:
        return int(status) if status is not None else None
    except (TypeError, ValueError):
        return None
