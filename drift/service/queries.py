"""What the queries of `GET /` and `GET /api/history` ask for, or the sentence that says what they may ask."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from drift.errors import HistoryRequestError
from drift.service.page.content import DEFAULT_SPAN, SPANS

__all__ = ["HistoryRequest", "PageRequest", "history_request", "page_request"]

DEFAULT_LIMIT: Final = 100
#: With 100 features a run is some 15 kB of JSON, hence 15 MB at most.
LARGEST_LIMIT: Final = 1000
#: SQLite's largest id.
_LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """A piece of the history: up to `limit` runs with ids below `before`, when that is given."""

    limit: int
    before: int | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page: how far back it looks, and whether it loads itself anew."""

    span: str
    refreshing: bool


def history_request(query: Mapping[str, str]) -> HistoryRequest:
    """Return what the query asks for. Raises `HistoryRequestError`."""
    _known(query, ("limit", "before"))
    limit = _whole(query, "limit", LARGEST_LIMIT)
    return HistoryRequest(DEFAULT_LIMIT if limit is None else limit, _whole(query, "before", _LARGEST_ID))


def page_request(query: Mapping[str, str]) -> PageRequest:
    """Return what the query asks for. Raises `HistoryRequestError`."""
    span = query.get("span", DEFAULT_SPAN)
    if span not in SPANS:
        raise HistoryRequestError("span", span, f"give one of {', '.join(SPANS)}")
    return PageRequest(span, refreshing=query.get("refresh") != "off")


def _known(query: Iterable[str], names: tuple[str, ...]) -> None:
    for name in query:
        if name not in names:
            raise HistoryRequestError("a parameter", name, f"the parameters are {' and '.join(names)}")


def _whole(query: Mapping[str, str], name: str, largest: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    # Python reads more as a number than people write: signs, blanks, underscores, digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest))) or not (
        1 <= int(text) <= largest
    ):
        raise HistoryRequestError(name, text[:40], f"give a whole number from 1 to {largest}")
    return int(text)
