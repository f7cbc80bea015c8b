"""What a status says: which error it becomes, and when another attempt makes sense."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from inference.client import errors

__all__ = ["Status", "Trailers", "trailers_of"]

Trailers = dict[str, str | bytes]

_Code = grpc.StatusCode

_ERRORS: Final[dict[grpc.StatusCode, type[errors.PredictionError]]] = {
    _Code.UNAVAILABLE: errors.UnavailableError,
    _Code.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    _Code.NOT_FOUND: errors.NotFoundError,
    _Code.UNAUTHENTICATED: errors.UnauthenticatedError,
    _Code.PERMISSION_DENIED: errors.UnauthenticatedError,
    _Code.INTERNAL: errors.ServerDefectError,
    _Code.UNKNOWN: errors.ServerDefectError,  # an exception that some server or proxy let through
    _Code.DATA_LOSS: errors.ServerDefectError,
}
_PLACE: Final = re.compile(
    r"rows\[(\d+)\](?:\.(?:cells\.)?values\[(\d+)\])?|tensor\.(?:float32_)?values\[(\d+)\]"
)
#: Delays beyond a day are as good as never.
_MAX_PUSHBACK_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Status:
    """How one attempt ended, other than well."""

    code: grpc.StatusCode
    details: str
    trailers: Trailers

    @classmethod
    def of(cls, error: grpc.RpcError) -> "Status":
        """Read the status that a stub raised, blocking or asyncio."""
        call: Any = error  # a stub's errors are calls as well, which RpcError itself does not say
        return cls(call.code(), call.details() or "", trailers_of(call.trailing_metadata()))

    @property
    def pushback_seconds(self) -> float | None:
        """How long the server asks to wait; negative means never again, None that it does not say."""
        text = self.trailers.get("grpc-retry-pushback-ms")
        if text is not None:  # gRFC A6: what is not a number means the same as a negative one
            readable = isinstance(text, str) and re.fullmatch(r"\d{1,10}", text)
            return min(int(text), _MAX_PUSHBACK_MS) / 1000 if readable else -1.0
        info = error_details_pb2.RetryInfo()
        for detail in self._details():
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
        return None

    @property
    def retry_is_safe(self) -> bool:
        """Whether the same request may do better: the server refused it, and not for good."""
        pushback = self.pushback_seconds
        if self.code is _Code.UNAVAILABLE:
            return pushback is None or pushback >= 0
        # Without pushback it is a limit of size or quota, by gRPC itself or a proxy: the same would come again.
        return self.code is _Code.RESOURCE_EXHAUSTED and pushback is not None and pushback >= 0

    def error(
        self, sentence: str, request_id: str, *, column_count: int = 0, first_row: int = 0
    ) -> errors.PredictionError:
        """Make the error; `column_count` and `first_row` say what places in a tensor mean for the caller."""
        known = self.trailers.get("x-request-id", request_id)
        request_id = known if isinstance(known, str) else request_id
        if self.code is _Code.INVALID_ARGUMENT:
            violations = tuple(self._violations(column_count, first_row))
            if violations:
                return errors.InvalidRequestError.of(violations, request_id)
            return errors.InvalidRequestError(self.code, sentence, request_id)
        if self.code is _Code.RESOURCE_EXHAUSTED:
            pushback = self.pushback_seconds
            after = pushback if pushback is not None and pushback >= 0 else None
            return errors.OverloadError(self.code, sentence, request_id, after)
        return _ERRORS.get(self.code, errors.PredictionError)(self.code, sentence, request_id)

    def _details(self) -> Iterator[Any]:
        packed = self.trailers.get("grpc-status-details-bin")
        if isinstance(packed, bytes):
            try:
                yield from status_pb2.Status.FromString(packed).details
            except DecodeError:  # a proxy's own idea of details; the code is what counts
                return

    def _violations(self, column_count: int, first_row: int) -> Iterator[errors.Violation]:
        for detail in self._details():
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                for found in bad.field_violations:
                    place = _place(found.field, column_count)
                    yield errors.Violation(found.field, found.description, *place).moved(first_row)


def _place(field: str, column_count: int) -> tuple[int | None, int | None]:
    found = _PLACE.fullmatch(field)
    if found is None:
        return None, None
    row, column, flat = (None if group is None else int(group) for group in found.groups())
    if flat is not None:
        return divmod(flat, column_count) if column_count else (None, None)
    return row, column


def trailers_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Trailers:
    """Return trailing metadata as a dictionary; of a repeated key the last."""
    return dict(metadata or ())
