"""Which failures are tried again, and when.

gRPC's own retry policy (gRFC A6, by service config) was measured first; see
`tests/inference/client/test_grpc_retry_policy.py`. It keeps the deadline and heeds `grpc-retry-pushback-ms`, but it
can only list codes: with RESOURCE_EXHAUSTED listed, it sends a message that is too large five times. It also spends
the rest of the deadline waiting for a pushback that ends after it, and then says DEADLINE_EXCEEDED and not overload.
"""

import math
import random
import time
from dataclasses import dataclass
from typing import Final

from inference.client.status import Status

__all__ = ["Attempts", "RetryPolicy"]

#: One generator a process; `random` itself is shared with callers who may seed it.
_RANDOM: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a call is tried again, within its deadline.

    The n-th delay is drawn from 0 to `first_backoff_seconds` × 2ⁿ⁻¹, at most `max_backoff_seconds` (full jitter:
    callers that failed together do not come back together), and never sooner than the server asks for.
    `RetryPolicy(max_attempts=1)` never tries again: for who measures the server, not for who uses it.
    """

    #: gRFC A6 allows up to 5; each more multiplies the load on a server that is down already.
    max_attempts: int = 4
    first_backoff_seconds: float = 0.1
    max_backoff_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.first_backoff_seconds < 0 or self.max_backoff_seconds < 0:
            raise ValueError(f"{self} cannot be: at least 1 attempt, and no delay below 0")

    def delay_seconds(self, failures: int) -> float:
        """Draw the delay after so many failures."""
        longest = self.first_backoff_seconds * 2.0 ** min(failures - 1, 32)
        return _RANDOM.uniform(0, min(longest, self.max_backoff_seconds))


class Attempts:
    """The attempts of one call: one deadline for all of them."""

    def __init__(self, policy: RetryPolicy, deadline_seconds: float) -> None:
        if not 0 < deadline_seconds < math.inf:
            raise ValueError(f"deadline_seconds is {deadline_seconds}, expected a number above 0")
        self.deadline_seconds: Final = deadline_seconds
        self.failures: list[Status] = []
        self._policy = policy
        self._deadline = time.monotonic() + deadline_seconds

    @property
    def remaining_seconds(self) -> float:
        """What is left of the deadline."""
        return max(0.0, self._deadline - time.monotonic())

    def delay_after(self, status: Status) -> float | None:
        """Note a failure; return how long to wait for the next attempt, None when there is to be none."""
        self.failures.append(status)
        if not status.retry_is_safe or len(self.failures) >= self._policy.max_attempts:
            return None
        # On top of what the server asks for: whoever was refused at the same time was asked for the same.
        delay = self._policy.delay_seconds(len(self.failures)) + (status.pushback_seconds or 0.0)
        return delay if delay < self.remaining_seconds else None
