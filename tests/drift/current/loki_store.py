"""The lines of a Loki stand-in, and the part of LogQL that asks for them.

Selectors with `=` matchers, line filters (`|=`, `!=`, `|~`, `!~`), and `sum(count_over_time(… [Ns]))`; any other stage
is a parse error, as a wrong query would be.
"""

import json
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["LineStore", "ParseError", "StoredLine", "parse_count"]

_FILTER = re.compile(r"\s*(\|=|!=|\|~|!~)\s*(\"(?:[^\"\\]|\\.)*\"|`[^`]*`)")
_COUNT = re.compile(r"sum\(count_over_time\((?P<query>.*) \[(?P<seconds>\d+)s\]\)\)", re.DOTALL)


class ParseError(Exception):
    """A query that is none."""


@dataclass(frozen=True)
class StoredLine:
    """One entry: ns since 1970, text, labels of its stream, and structured metadata."""

    timestamp: int
    line: str
    labels: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass
class LineStore:
    """Lines in any order; the same line of the same nanosecond of a stream is kept once, as Loki keeps it."""

    lines: dict[StoredLine, None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def push(
        self,
        entries: Iterable[tuple[int, str]],
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Add lines to a stream."""
        stream = tuple(sorted((labels or {"app": "ml-inference"}).items()))
        details = tuple(sorted((metadata or {}).items()))
        with self.lock:
            self.lines.update({StoredLine(when, line, stream, details): None for when, line in entries})

    def find(self, query: str, start: int, end: int) -> list[StoredLine]:
        """Return the lines from `start` to before `end`, in an order that no caller may rely on."""
        matches = _parse(query)
        with self.lock:
            found = [one for one in self.lines if start <= one.timestamp < end and matches(one)]
        random.shuffle(found)  # equal timestamps come as they like
        return found


def parse_count(query: str) -> tuple[str, int] | None:
    """Return the inner query and the seconds of a count, None for a log query."""
    found = _COUNT.fullmatch(query.strip())
    return (found["query"], int(found["seconds"])) if found else None


def _parse(query: str) -> Callable[[StoredLine], bool]:
    selector = re.match(r"\s*\{([^{}]*)\}", query)
    if selector is None:
        raise ParseError("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    wanted = dict(re.findall(r"(\w+)\s*=\s*\"([^\"]*)\"", selector.group(1)))
    if not wanted:
        raise ParseError("parse error : queries require at least one regexp or equality matcher")
    place, filters = selector.end(), list[Callable[[str], bool]]()
    while query[place:].strip():
        stage = _FILTER.match(query, place)
        if stage is None:
            raise ParseError(f"parse error at line 1, col {place + 1}: syntax error: unexpected IDENTIFIER")
        filters.append(_filter(stage.group(1), stage.group(2)))
        place = stage.end()
    return lambda one: wanted.items() <= dict(one.labels).items() and all(keep(one.line) for keep in filters)


def _filter(operator: str, quoted: str) -> Callable[[str], bool]:
    text: str = quoted[1:-1] if quoted[0] == "`" else json.loads(quoted)
    if operator == "|=":
        return lambda line: text in line
    if operator == "!=":
        return lambda line: text not in line
    pattern = re.compile(text)
    if operator == "|~":
        return lambda line: pattern.search(line) is not None
    return lambda line: pattern.search(line) is None
