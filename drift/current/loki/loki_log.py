"""Loki as a source of current rows: each read takes what came since the last one, and nothing twice.

A cursor says up to when Loki has been read. A read begins some time before it, since collectors deliver late, and
leaves out the lines that it remembers. Then the lines of each minute are counted, here and by Loki: minutes that lack
some are read anew, and what still lacks is told as `rows_missing`.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import structlog

from drift.current.event_filter import ServedModel, SkipReason
from drift.current.intake import Intake, Line
from drift.current.loki.answers import Entry
from drift.current.loki.client import LokiClient
from drift.current.loki.minutes import MINUTE_SECONDS, Minutes, minute_of, stretch_of
from drift.current.loki.pages import Pager
from drift.current.loki.refusals import AnswerTooLarge, EntryLimitExceeded
from drift.current.seen import SeenIds
from drift.errors import LokiError
from drift.rows import Rows

__all__ = ["LATE_SECONDS", "SETTLE_SECONDS", "LokiLog"]

#: Loki shows a line this long after it was sent at the latest (ingesters, batches of collectors: 10 to 30 s).
SETTLE_SECONDS: Final = 30.0
#: Lines may come so much later than their time and be read in passing; those later still are found by the counts.
LATE_SECONDS: Final = 120.0
#: Loki accepts lines from clocks so far ahead (`creation_grace_period`, 10 minutes).
FUTURE_SECONDS: Final = 600.0
#: Minutes that are read anew in one read: one that lacks much must not keep the evaluation for long.
_MINUTES_AGAIN: Final = 10
#: Questions for the time before a read, at most.
_CLOCK_QUESTIONS: Final = 3
#: Lines remembered before those are forgotten that no overlap can bring again.
_TIDY_ABOVE: Final = 200_000

_NS: Final = 1_000_000_000

log = structlog.stdlib.get_logger("drift")


class LokiLog:
    """Rows of the prediction events of the last `range_seconds` that a query finds."""

    def __init__(
        self,
        client: LokiClient,
        query: str,
        intake: Intake,
        *,
        range_seconds: float,
        settle_seconds: float = SETTLE_SECONDS,
        late_seconds: float = LATE_SECONDS,
    ) -> None:
        self._client, self._query, self._intake = client, query, intake
        self._pager = Pager(client, query)
        self._range_seconds = range_seconds
        self._settle_seconds, self._late_seconds = settle_seconds, late_seconds
        self._cursor: float | None = None
        self._since = 0.0
        self._seen = SeenIds()
        self._minutes = Minutes()
        self._rows_missing: int | None = None
        self._told_ahead = 0.0

    def close(self) -> None:
        """Close the connections to Loki."""
        self._client.close()

    @property
    def rows_missing(self) -> int | None:
        """How many lines of the window Loki counts and did not give; None when it does not count."""
        return self._rows_missing

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """The models that answered the rows of the last window."""
        return self._intake.served

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""
        return self._intake.take_skipped()

    def read(self, now: float) -> Rows | None:
        """Take in what came since the last call; return the window that ends at `now`.

        Raises `LokiError` when Loki does not answer; what was read before that is kept, and the next call goes on.
        """
        self._client.begin()
        now += self._clock_ahead(now)
        window_start = now - self._range_seconds
        if self._cursor is None or self._cursor > now + MINUTE_SECONDS:
            # The first read; or time went back, and what was forgotten as too old is of the window again.
            self._since = self._cursor = window_start
            self._seen, self._minutes = SeenIds(), Minutes()
        self._cursor = min(self._cursor, now)
        start = max(window_start, self._cursor - self._late_seconds)
        for page in self._pager.pages(int(start * _NS), int((now + FUTURE_SECONDS) * _NS)):
            self._take(page, now)
        self._cursor = max(self._cursor, now - self._settle_seconds)
        self._seen.forget(self._cursor - self._late_seconds)
        self._minutes.forget(int(window_start))
        self._check(now)
        return self._intake.sample(now)

    def _clock_ahead(self, now: float) -> float:
        """Return how far Loki's clock, and those of the servers beside it, are ahead of ours."""
        clock = self._client.clock
        # Small questions: an answer has the time. The first is needed at the start, and where the clocks differed,
        # since they may have been set right meanwhile; another one confirms a time that is new.
        for asked in range(_CLOCK_QUESTIONS):
            known = clock.ahead_seconds is not None and not clock.in_doubt
            if known and (asked or abs(clock.ahead_seconds or 0.0) <= MINUTE_SECONDS):
                break
            with contextlib.suppress(AnswerTooLarge, EntryLimitExceeded):  # its head had the time
                self._client.entries(self._query, int((now - 1) * _NS), int(now * _NS), 1, "forward")
        ahead = clock.ahead_seconds or 0.0
        if abs(ahead - self._told_ahead) > MINUTE_SECONDS:
            log.warning("our clock differs from Loki's, whose time counts", ahead_seconds=round(ahead))
            self._told_ahead = ahead
        return ahead

    def _take(self, page: list[Entry], now: float) -> None:
        """Put the lines of a page that are new into the window, and the cursor behind them."""
        if not page:
            return
        entries = self._new(page)
        self._intake.take(_lines(entries), now, origin="Loki")
        self._minutes.add(moment for moment, _, _ in entries)
        reached = min(page[-1][0] / _NS, now - self._settle_seconds)
        self._cursor = max(self._cursor or 0.0, reached)
        if len(self._seen) > _TIDY_ABOVE:
            self._seen.forget(self._cursor - self._late_seconds)

    def _new(self, page: list[Entry]) -> list[Entry]:
        ids = np.fromiter(map(hash, page), np.int64, len(page))
        new = self._seen.add(ids, np.array([moment / _NS for moment, _, _ in page]))
        return page if new.all() else [page[place] for place in np.flatnonzero(new)]

    def _check(self, now: float) -> None:
        """Compare what was received with what Loki counts, for all whole minutes of the window."""
        first = minute_of(int(max(self._since, now - self._range_seconds) * _NS)) + MINUTE_SECONDS
        last = int(now - self._settle_seconds) // MINUTE_SECONDS * MINUTE_SECONDS
        if last < first:
            return
        try:
            given = self._client.counts(self._query, first, last, MINUTE_SECONDS)
            counted = {minute: count for minute, count in given.items() if first <= minute <= last}
            lacking = self._minutes.missing(counted)
            again = [
                minute for minute in lacking if not self._minutes.was_read_again(minute, counted[minute])
            ]
            for minute in again[:_MINUTES_AGAIN]:
                self._read_again(minute, counted[minute], now)
            missing = sum(self._minutes.missing(counted).values())
        except LokiError as error:
            log.warning(
                "Loki does not count its lines: whether all were read is not known", reason=str(error)
            )
            self._rows_missing = None
            return
        if missing and missing != self._rows_missing:
            log.warning("Loki counts more lines than it gives", missing=missing)
        self._rows_missing = missing

    def _read_again(self, minute: int, counted: int, now: float) -> None:
        start, end = stretch_of(minute)
        received = 0
        if self._intake.remembers(start / _NS):  # or else its events would count twice
            for page in self._pager.pages(start, end):
                received += len(page)
                self._new(page)
                self._intake.take_again(_lines(page), now)
        self._minutes.read_again(minute, counted, received)


def _lines(entries: list[Entry]) -> Iterator[Line]:
    return ((line, moment / _NS, stream) for moment, line, stream in entries)
