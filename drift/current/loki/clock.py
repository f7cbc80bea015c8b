"""Loki's clock, as the header Date of its answers tells it."""

from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["LokiClock"]

#: The header Date has whole seconds, and an answer takes its time: less than this is no difference of clocks.
_SAME_CLOCK_SECONDS: Final = 5.0
#: A clock that is off by so much more than before is believed when a second answer says the same: one wrong header
#: of one server, or of a proxy, would move the window.
_JUMP_SECONDS: Final = 60.0


class LokiClock:
    """How far Loki's clock is ahead of ours."""

    def __init__(self) -> None:
        #: Seconds; 0 as long as the clocks agree, None before the first answer.
        self.ahead_seconds: float | None = None
        #: What the last answer said and none has confirmed.
        self._doubted: float | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether the last answer told a time that only one more can make believable."""
        return self._doubted is not None

    def learn(self, date: str | None, sent: float, received: float) -> None:
        """Take in the header of an answer, and when it was asked for and came (seconds since 1970)."""
        known = self.ahead_seconds or 0.0
        try:
            theirs = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):  # it tells nothing
            self.ahead_seconds = known
            return
        # Any moment between sending and receiving may be when Date was written, and any part of its second.
        ahead = theirs + 0.5 - min(max(theirs + 0.5, sent), received)
        ahead = ahead if abs(ahead) > _SAME_CLOCK_SECONDS else 0.0
        expected = (known,) if self._doubted is None else (known, self._doubted)
        if any(abs(ahead - one) <= _JUMP_SECONDS for one in expected):
            self.ahead_seconds, self._doubted = ahead, None
        else:
            self.ahead_seconds, self._doubted = known, ahead
