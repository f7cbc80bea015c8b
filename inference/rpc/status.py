"""The one table from errors to statuses, of gRPC and of HTTP."""

from typing import Final, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from inference import errors

__all__ = ["Failure", "Trailers", "failure_of", "rich_status"]

Trailers = tuple[tuple[str, str | bytes], ...]

_Code = grpc.StatusCode

# The row of the closest base class holds.
_TABLE: Final[dict[type[errors.InferenceError], tuple[grpc.StatusCode, int]]] = {
    errors.InvalidRequestError: (_Code.INVALID_ARGUMENT, 400),
    errors.UnknownModelError: (_Code.NOT_FOUND, 404),
    errors.ModelNotFoundError: (_Code.NOT_FOUND, 404),
    errors.NoPreviousModelError: (_Code.FAILED_PRECONDITION, 409),
    errors.RegistryError: (_Code.FAILED_PRECONDITION, 422),
    errors.BundleError: (_Code.FAILED_PRECONDITION, 422),
    errors.GateError: (_Code.FAILED_PRECONDITION, 422),
    errors.OverloadError: (_Code.RESOURCE_EXHAUSTED, 429),
    errors.NotReadyError: (_Code.UNAVAILABLE, 503),
    errors.RegistryUnavailableError: (_Code.UNAVAILABLE, 503),
    errors.InferenceError: (_Code.INTERNAL, 500),
}
#: gRPC clients refuse trailers beyond 8 KiB and then report another error; violations may have this much.
_MAX_DETAIL_BYTES: Final = 3072
#: Characters of the sentence, for the same reason; each may take twelve bytes when it is percent-encoded.
_MAX_SENTENCE: Final = 256


class Failure(NamedTuple):
    """What a caller is told of an error."""

    code: grpc.StatusCode
    http_status: int
    sentence: str
    violations: tuple[errors.Violation, ...] = ()
    #: Milliseconds until a retry makes sense; negative means never; None means that the caller may choose.
    retry_ms: int | None = None

    @property
    def is_defect(self) -> bool:
        """Whether this is a bug of ours, whose details belong in the log alone."""
        return self.code is _Code.INTERNAL


def failure_of(error: Exception, request_id: str) -> Failure:
    """Say what to tell the caller of `error`; of a defect nothing but the request's identifier."""
    if not isinstance(error, errors.InferenceError):
        sentence = f"internal error; the server's log has the details under request id {request_id}"
        return Failure(_Code.INTERNAL, 500, sentence)
    code, http_status = next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)
    sentence = str(error)
    if isinstance(error, errors.InvalidRequestError):
        return Failure(code, http_status, sentence, tuple(error.violations))
    if isinstance(error, errors.OverloadError):
        if error.retry_after_seconds is None:  # it would fail again: the request itself is too large
            return Failure(code, 413, sentence, retry_ms=-1)
        return Failure(code, http_status, sentence, retry_ms=round(error.retry_after_seconds * 1000))
    return Failure(code, http_status, sentence)


def rich_status(failure: Failure, trailers: Trailers) -> grpc.Status:
    """Make the gRPC status of `failure`, with google.rpc details and `trailers` as trailing metadata."""
    status = status_pb2.Status(code=failure.code.value[0], message=failure.sentence[:_MAX_SENTENCE])
    if failure.violations:
        status.details.add().Pack(_bad_request(failure.violations))
    if failure.retry_ms is not None and failure.retry_ms >= 0:
        delay = Duration(nanos=failure.retry_ms * 1_000_000)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    built = rpc_status.to_status(status)
    trailing = (*trailers, *(built.trailing_metadata or ()))
    if failure.retry_ms is not None:
        trailing += (("grpc-retry-pushback-ms", str(failure.retry_ms)),)
    return _Status(built.code, built.details, trailing)


class _Status(grpc.Status):
    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: Trailers) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def _bad_request(violations: tuple[errors.Violation, ...]) -> error_details_pb2.BadRequest:
    details = error_details_pb2.BadRequest()
    room = _MAX_DETAIL_BYTES
    for violation in violations:
        room -= len(violation.field.encode()) + len(violation.description.encode()) + 8
        if room < 0 and details.field_violations:
            break
        details.field_violations.add(field=violation.field, description=violation.description[:_MAX_SENTENCE])
    return details
