"""How long to wait before asking again, and when to give up."""

import math
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["RETRIED_STATUSES", "Patience", "retry_after"]

#: Too many requests, and what a server or the proxy before it says in trouble; 501 and the like stay as they are.
RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """Exponential backoff with full jitter (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).

    Five attempts wait 8 s at most, and up to two minutes where Loki asks for it: an evaluation comes every few minutes,
    and the next one tries again.
    """

    attempts: int = 5
    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def wait(self, attempt: int, asked: float | None) -> bool:
        """Wait after the `attempt`-th failure (from 1), at least as long as asked; return whether to go on."""
        if attempt >= self.attempts or (asked or 0.0) > self.longest_seconds:
            return False
        backoff = min(self.longest_seconds, self.first_seconds * 2 ** (attempt - 1))
        time.sleep(max(random.uniform(0, backoff), asked or 0.0))
        return True


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a header Retry-After asks for (RFC 9110: seconds, or a date), None without one."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except OverflowError:
        return math.inf
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
