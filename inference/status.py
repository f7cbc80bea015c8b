"""The one table from errors to statuses, of gRPC and of HTTP."""

import enum
from typing import Final, NamedTuple

from inference import errors

__all__ = ["Code", "Failure", "failure_of"]


class Code(enum.Enum):
    """The statuses of gRPC (https://grpc.io/docs/guides/status-codes/) that this server gives."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


#: What HTTP says for a caller that hung up; nobody reads it (the number is nginx's).
CLIENT_CLOSED_REQUEST: Final = 499

# The row of the closest base class holds.
_TABLE: Final[dict[type[errors.InferenceError], tuple[Code, int]]] = {
    errors.InvalidRequestError: (Code.INVALID_ARGUMENT, 400),
    errors.UnauthenticatedError: (Code.UNAUTHENTICATED, 401),
    errors.PermissionDeniedError: (Code.PERMISSION_DENIED, 403),
    errors.UnknownModelError: (Code.NOT_FOUND, 404),
    errors.ModelNotFoundError: (Code.NOT_FOUND, 404),
    errors.NoPreviousModelError: (Code.FAILED_PRECONDITION, 409),
    errors.RegistryError: (Code.FAILED_PRECONDITION, 422),
    errors.BundleError: (Code.FAILED_PRECONDITION, 422),
    errors.GateError: (Code.FAILED_PRECONDITION, 422),
    errors.OverloadError: (Code.RESOURCE_EXHAUSTED, 429),
    errors.AbandonedError: (Code.CANCELLED, CLIENT_CLOSED_REQUEST),
    errors.NotReadyError: (Code.UNAVAILABLE, 503),
    errors.RegistryUnavailableError: (Code.UNAVAILABLE, 503),
    errors.DeadlineError: (Code.DEADLINE_EXCEEDED, 504),
    errors.InferenceError: (Code.INTERNAL, 500),
}


class Failure(NamedTuple):
    """What a caller is told of an error."""

    code: Code
    http_status: int
    sentence: str
    violations: tuple[errors.Violation, ...] = ()
    #: Milliseconds until a retry makes sense; negative means never; None means that the caller may choose.
    retry_ms: int | None = None

    @property
    def is_defect(self) -> bool:
        """Whether this is a bug of ours, whose details belong in the log alone."""
        return self.code is Code.INTERNAL


def failure_of(error: Exception, request_id: str) -> Failure:
    """Say what to tell the caller of `error`; of a defect nothing but the request's identifier."""
    if not isinstance(error, errors.InferenceError):
        sentence = f"internal error; the server's log has the details under request id {request_id}"
        return Failure(Code.INTERNAL, 500, sentence)
    code, http_status = next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)
    sentence = str(error)
    if isinstance(error, errors.InvalidRequestError):
        return Failure(code, http_status, sentence, tuple(error.violations))
    if isinstance(error, errors.OverloadError):
        if error.retry_after_seconds is None:  # it would fail again: the request itself is too large
            return Failure(code, 413, sentence, retry_ms=-1)
        return Failure(code, http_status, sentence, retry_ms=round(error.retry_after_seconds * 1000))
    return Failure(code, http_status, sentence)
