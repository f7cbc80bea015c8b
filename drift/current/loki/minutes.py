"""Lines received, by the minute, beside the lines that Loki counts.

A minute is named by its last second and has what came after its first moment, up to and with its last: so does
`count_over_time`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["MINUTE_SECONDS", "Minutes", "minute_of", "stretch_of"]

MINUTE_SECONDS: Final = 60
_MINUTE_NS: Final = MINUTE_SECONDS * 1_000_000_000


def minute_of(moment: int) -> int:
    """Return the minute of a moment (ns since 1970)."""
    return -(-moment // _MINUTE_NS) * MINUTE_SECONDS


def stretch_of(minute: int) -> tuple[int, int]:
    """Return the first moment of a minute and the first after it, in ns since 1970."""
    end = minute * 1_000_000_000 + 1
    return end - _MINUTE_NS, end


class Minutes:
    """How many lines of each minute were received, and how many Loki counted when it was read anew."""

    def __init__(self) -> None:
        self._received: Counter[int] = Counter()
        self._counted: dict[int, int] = {}

    def add(self, moments: Iterable[int]) -> None:
        """Count lines of these moments (ns since 1970), each for the first time."""
        self._received.update(map(minute_of, moments))

    def missing(self, counted: Mapping[int, int]) -> dict[int, int]:
        """Return how many lines each minute lacks, minutes that lack none left out."""
        return {
            minute: count - self._received[minute]
            for minute, count in sorted(counted.items())
            if count > self._received[minute]
        }

    def was_read_again(self, minute: int, counted: int) -> bool:
        """Whether a minute was read anew when Loki counted as much: once more would bring nothing."""
        return self._counted.get(minute, -1) >= counted

    def read_again(self, minute: int, counted: int, received: int) -> None:
        """Note how many lines a minute has that was read anew, and what Loki counted then."""
        self._counted[minute] = counted
        self._received[minute] = max(received, self._received[minute])

    def forget(self, before: int) -> None:
        """Forget minutes that end before a second."""
        self._received = Counter({minute: n for minute, n in self._received.items() if minute >= before})
        self._counted = {minute: n for minute, n in self._counted.items() if minute >= before}
