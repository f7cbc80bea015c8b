"""Waiting until a server says by grpc.health.v1 that it is ready.

By `Check`, again and again, and not by `Watch`: grpcio-health-checking 1.85 holds its lock while it tells watchers
of a change, and one that goes away at that moment waits for the lock on the thread that would send. Callers who
end their watch when they hear SERVING, as here, hang the whole server.
"""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from inference.client.errors import DeadlineExceededError
from inference.client.retry import Attempts, RetryPolicy
from inference.client.status import Status
from protos.inference.v1 import inference_pb2

__all__ = ["QUESTION", "Readiness"]

#: What is asked about: the inference service, which serves as soon as a model is loaded.
QUESTION: Final = health_pb2.HealthCheckRequest(
    service=inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
)

#: From at once to once a second: a check costs a server as little as a call can.
_PACE: Final = RetryPolicy(first_backoff_seconds=0.05, max_backoff_seconds=1.0)
#: A check that takes longer is asked anew, on whatever connection there is then.
_CHECK_SECONDS: Final = 5.0


class Readiness:
    """What the checks have said so far, and when to ask again."""

    def __init__(self, address: str, deadline_seconds: float) -> None:
        self._address = address
        self._attempts = Attempts(_PACE, deadline_seconds)
        self._seen = ""
        self._checks = 0

    @property
    def check_seconds(self) -> float:
        """The deadline of the next check."""
        return min(self._attempts.remaining_seconds, _CHECK_SECONDS)

    def is_ready(self, reply: health_pb2.HealthCheckResponse) -> bool:
        """Note what health says."""
        self._seen = f"health says {health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}"
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def note(self, error: grpc.RpcError) -> None:
        """Note that a check failed; raise the `PredictionError` of what will not pass by waiting."""
        status = Status.of(error)
        if status.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        ):  # it stops, perhaps to start anew
            self._seen = status.details
        elif status.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise status.error(f"{self._address} does not tell its health: {status.details}", "") from error

    def delay(self) -> float:
        """Return the seconds until the next check. Raises `DeadlineExceededError` when time is up."""
        self._checks += 1
        left = self._attempts.remaining_seconds
        if left > 0:
            return min(_PACE.delay_seconds(self._checks), left)
        seen = self._seen or "it did not answer"
        sentence = f"{self._address} was not ready within {self._attempts.deadline_seconds:g} s: {seen}"
        raise DeadlineExceededError(grpc.StatusCode.DEADLINE_EXCEEDED, sentence)
