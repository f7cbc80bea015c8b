"""One call from the caller's words to its end, without the waiting, which differs between the two clients."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc

from inference.client.batches import Batch
from inference.client.errors import PredictionError
from inference.client.retry import Attempts, RetryPolicy
from inference.client.rows import Encoded, encode
from inference.client.status import Status
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["DEFAULT_DEADLINE_SECONDS", "Asked", "Call", "Caller", "Metadata", "Token"]

#: Nothing of a prediction takes this long; a call that does has failed.
DEFAULT_DEADLINE_SECONDS: Final = 5.0

#: What gRPC itself says when it stops waiting; anything else is the server's own reason.
_LOCAL_DEADLINE: Final = "Deadline Exceeded"

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
#: A bearer token, or what returns the one that holds now, for tokens that expire.
Token: TypeAlias = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says of a call besides its rows."""

    deadline_seconds: float
    metadata: Metadata = ()
    model_name: str = ""
    model_version: str = ""
    feature_names: Sequence[str] = ()
    request_id: str = ""
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """What all calls of one client have in common."""

    address: str
    token: Token | None = field(default=None, repr=False)
    metadata: Metadata = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def prediction(self, batch: Batch, asked: Asked) -> tuple[Encoded, "Call"]:
        """Encode the rows and begin the call for them."""
        encoded = encode(batch.rows, asked.feature_names, first_row=batch.first_row)
        encoded.request.model_name, encoded.request.model_version = asked.model_name, asked.model_version
        return encoded, self._call(asked, encoded.column_count, batch.first_row)

    def description(self, asked: Asked) -> tuple[pb.GetModelRequest, "Call"]:
        """Begin the call for the model that serves."""
        request = pb.GetModelRequest(model_name=asked.model_name, model_version=asked.model_version)
        return request, self._call(asked)

    def _call(self, asked: Asked, column_count: int = 0, first_row: int = 0) -> "Call":
        attempts = Attempts(self.retry, asked.deadline_seconds)  # the deadline counts from here
        request_id = asked.request_id or uuid.uuid4().hex
        headers = [*self.headers(asked.metadata), ("x-request-id", request_id)]
        if asked.shadow:
            headers.append(("x-shadow-request", "true"))
        return Call(self.address, attempts, tuple(headers), request_id, column_count, first_row)

    def headers(self, metadata: Metadata = ()) -> list[tuple[str, str | bytes]]:
        """Return the metadata of every call, with the token that holds now."""
        sent: list[tuple[str, str | bytes]] = [*self.metadata, *metadata]
        if self.token is not None:
            token = self.token if isinstance(self.token, str) else self.token()
            sent.append(("authorization", f"Bearer {token.strip()}"))  # files of tokens end with a newline
        return [(key.lower(), value) for key, value in sent]  # gRPC refuses capitals


@dataclass(frozen=True, slots=True)
class Call:
    """One call: every attempt has the same headers, `x-request-id` included."""

    address: str
    attempts: Attempts
    headers: tuple[tuple[str, str | bytes], ...]
    request_id: str
    column_count: int = 0
    first_row: int = 0

    def delay_after(self, error: grpc.RpcError) -> float:
        """Return the seconds until the next attempt; without one raise the `PredictionError` of `error`."""
        status = Status.of(error)
        delay = self.attempts.delay_after(status)
        if delay is None:
            raise self.error(status) from error
        return delay

    def error(self, status: Status) -> PredictionError:
        """Make the error that `status` ends the call with."""
        return status.error(
            self._sentence(status),
            self.request_id,
            column_count=self.column_count,
            first_row=self.first_row,
        )

    def _sentence(self, status: Status) -> str:
        if status.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            earlier = [failure for failure in self.attempts.failures if failure is not status]
            before = f"; before that it said {earlier[-1].details!r}" if earlier else ""
            own = status.details.startswith(_LOCAL_DEADLINE)
            reason = f": {status.details}" if status.details and not own else ""
            return (
                f"{self.address} gave no answer within {self.attempts.deadline_seconds:g} s{reason}{before}"
            )
        return status.details or f"{self.address} answered {status.code.name}"
