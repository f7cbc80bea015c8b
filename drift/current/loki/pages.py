"""Reading a stretch of time from Loki completely, and each line exactly once.

Loki has no pages and no tokens: a query gives at most `limit` entries, and many may have the same nanosecond. The
next page therefore begins with the last nanosecond of the one before, and leaves out what that one had (the way of
Loki's own logcli). Where a page is one nanosecond altogether, its lines are told apart by their text.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import structlog

from drift.current.loki.answers import Direction, Entry
from drift.current.loki.refusals import AnswerTooLarge, EntryLimitExceeded
from drift.current.loki.shards import choose_filter, split_query
from drift.errors import LokiError

__all__ = ["PAGE_ENTRIES", "Asked", "Pager"]

#: Loki's default of `max_entries_limit_per_query`.
PAGE_ENTRIES: Final = 5000
#: Two lines can be told apart, one line cannot be told from others of its nanosecond.
_MIN_ENTRIES: Final = 2

log = structlog.stdlib.get_logger("drift")


class Asked(Protocol):
    """What a pager asks: a `LokiClient`."""

    @property
    def address(self) -> str:
        """What is asked, as sentences may show it."""

    def entries(self, query: str, start: int, end: int, limit: int, direction: Direction) -> list[Entry]:
        """Return at most `limit` entries from `start` to before `end`, in the direction's order."""

    def maximum_entries(self) -> int | None:
        """Return the largest `limit` that may be asked for, None when that is not known."""


class Pager:
    """Reads pages of one query; the maximum that the server names stays, and each read begins with it."""

    def __init__(self, client: Asked, query: str, limit: int = PAGE_ENTRIES) -> None:
        self._client, self._query = client, query
        self._given = self._maximum = self._limit = limit
        self._asked_for_maximum = False

    def pages(self, start: int, end: int, direction: Direction = "forward") -> Iterator[list[Entry]]:
        """Yield the entries from `start` to before `end` (ns since 1970) in the direction's order, each once.

        Entries that were not asked for are left out. Raises `LokiError`; pages that were yielded before stay good.
        """
        self._limit = self._maximum  # long lines of the last read are no reason for small pages in this one
        edge: int | None = None  # the nanosecond that two pages share
        known: set[Entry] = set()  # its entries that were yielded
        while start < end:
            entries, full = self._page(self._query, start, end, direction)
            inside = [entry for entry in entries if start <= entry[0] < end]
            new = _without(inside, edge, known)
            if full and len(inside) < len(entries) and not new:
                raise self._astray()
            if not full or _is_beyond(entries[-1][0], start, end, direction):
                yield new
                return
            last = inside[-1][0]
            if inside[0][0] == last:
                yield _without(self._burst(last), edge, known)
                start, end = (last + 1, end) if direction == "forward" else (start, last)
                edge, known = None, set()
            else:
                yield new
                start, end = (last, end) if direction == "forward" else (start, last + 1)
                edge, known = last, {entry for entry in inside if entry[0] == last}

    def _page(self, query: str, start: int, end: int, direction: Direction) -> tuple[list[Entry], bool]:
        """Return one page, and whether there may be more."""
        while True:
            try:
                entries = self._client.entries(query, start, end, self._limit, direction)
                return entries, len(entries) >= self._limit
            except EntryLimitExceeded as refused:
                maximum = refused.maximum or self._client.maximum_entries() or self._limit
                smaller = min(maximum, self._limit // 2) if maximum >= self._limit else maximum
                self._maximum = smaller
            except AnswerTooLarge:
                smaller = self._limit // 2
            if smaller < _MIN_ENTRIES:
                self._maximum = self._given
                raise LokiError(
                    self._client.address,
                    "gives not even two lines in an answer that can be taken",
                    "narrow LOKI_QUERY to lines with prediction events, or raise max_entries_limit_per_query",
                )
            log.info("Loki gives smaller pages", entries=smaller, before=self._limit)
            self._limit = smaller

    def _burst(self, moment: int) -> list[Entry]:
        """Return all entries of one nanosecond, more than a page has."""
        if not self._asked_for_maximum:
            self._asked_for_maximum = True
            self._maximum = max(self._maximum, self._client.maximum_entries() or 0)
            self._limit = max(self._limit, self._maximum)
        return self._shard(self._query, moment)

    def _shard(self, query: str, moment: int) -> list[Entry]:
        given, full = self._page(query, moment, moment + 1, "forward")
        entries = [entry for entry in given if entry[0] == moment]
        if not full:
            return entries
        if len(entries) < len(given):
            raise self._astray()
        chosen = choose_filter([line for _, line, _ in entries])
        if chosen is None:
            # What is lost here shows in the counts, and so in drift_monitor_rows_missing.
            log.warning(
                "Loki has more lines of one nanosecond than it gives, and they have no event_id to tell them apart",
                nanosecond=moment,
                given=len(entries),
            )
            return entries
        if chosen in query:  # it halves no lines that it has chosen, unless it did not choose
            raise self._astray()
        matching, others = split_query(query, chosen)
        return self._shard(matching, moment) + self._shard(others, moment)

    def _astray(self) -> LokiError:
        return LokiError(
            self._client.address,
            "answers lines outside of what was asked, so that its pages have no end",
            "set LOKI_BASE_URL to Loki itself, and see that no proxy drops start, end or query of a request",
        )


def _is_beyond(moment: int, start: int, end: int, direction: Direction) -> bool:
    """Whether a page that ends with this moment has all that was asked for, and more."""
    return moment >= end if direction == "forward" else moment < start


def _without(entries: list[Entry], edge: int | None, known: set[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry[0] != edge or entry not in known]
