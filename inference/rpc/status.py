"""A failure as the status that gRPC clients see: code, sentence, google.rpc details, trailing metadata."""

from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from inference import errors
from inference.status import Failure

__all__ = ["Trailers", "rich_status"]

Trailers = tuple[tuple[str, str | bytes], ...]

#: gRPC clients refuse trailers beyond 8 KiB and then report another error; violations may have this much.
_MAX_DETAIL_BYTES: Final = 3072
#: Characters of the sentence, for the same reason; each may take twelve bytes when it is percent-encoded.
_MAX_SENTENCE: Final = 256


def rich_status(failure: Failure, trailers: Trailers) -> grpc.Status:
    """Make the gRPC status of `failure`, with google.rpc details and `trailers` as trailing metadata."""
    status = status_pb2.Status(code=failure.code.value, message=failure.sentence[:_MAX_SENTENCE])
    if failure.violations:
        status.details.add().Pack(_bad_request(failure.violations))
    if failure.retry_ms is not None and failure.retry_ms >= 0:
        delay = Duration()
        delay.FromMilliseconds(failure.retry_ms)
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
