"""What a call can end with instead of predictions.

`PredictionError` is not a `grpc.RpcError`: there `code` and `details` are methods and here they are data, and a
class that were both would be wrong for one reader or the other. The `grpc.RpcError` is the `__cause__`; an error
without one was found before anything was sent. All of them survive pickling, for callers with worker processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import grpc

__all__ = [
    "DeadlineExceededError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadError",
    "PredictionError",
    "ServerDefectError",
    "UnauthenticatedError",
    "UnavailableError",
    "Violation",
]


class PredictionError(Exception):
    """Base of all errors of this package, and itself the error for statuses without a class of their own.

    `request_id` is what the server's log has the call under.
    """

    def __init__(self, code: grpc.StatusCode, message: str, request_id: str = "") -> None:
        super().__init__(code, message, request_id)
        self.code, self.message, self.request_id = code, message, request_id

    def __str__(self) -> str:
        return f"{self.message} (request id {self.request_id})" if self.request_id else self.message


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one place of the rows.

    `field` is a path into the request, `row` and `column` are what it means for the rows that were given,
    counted from 0; None where it is about no row or no column.
    """

    field: str
    description: str
    row: int | None = None
    column: int | None = None

    def moved(self, rows: int) -> "Violation":
        """Return it as counted from so many rows earlier."""
        return self if self.row is None else replace(self, row=self.row + rows)

    @property
    def place(self) -> str:
        """Where it is, in words."""
        if self.row is None:
            return self.field
        return f"row {self.row}" if self.column is None else f"row {self.row}, column {self.column}"


class InvalidRequestError(PredictionError):
    """Rows that the model cannot take; `violations` says where, as far as it was told."""

    def __init__(
        self, code: grpc.StatusCode, message: str, request_id: str = "", violations: Sequence[Violation] = ()
    ) -> None:
        super().__init__(code, message, request_id)
        self.violations = tuple(violations)
        self.args = (code, message, request_id, self.violations)

    @classmethod
    def of(cls, violations: Sequence[Violation], request_id: str = "") -> "InvalidRequestError":
        """Make the error whose sentence is the first of `violations`."""
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        sentence = f"{violations[0].place}: {violations[0].description}{more}"
        return cls(grpc.StatusCode.INVALID_ARGUMENT, sentence, request_id, violations)


class UnavailableError(PredictionError):
    """No server answers, or one without a model, or one that is shutting down."""


class DeadlineExceededError(PredictionError):
    """No answer within `deadline_seconds`, all attempts together."""


class OverloadError(PredictionError):
    """More than the server takes. `retry_after_seconds` None means that this request will never fit."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, request_id)
        self.retry_after_seconds = retry_after_seconds
        self.args = (code, message, request_id, retry_after_seconds)


class NotFoundError(PredictionError):
    """The server holds another model or version than the one asked for."""


class UnauthenticatedError(PredictionError):
    """The token or certificate is missing, wrong, or not enough."""


class ServerDefectError(PredictionError):
    """A defect of the server; its log has the details under `request_id`."""
