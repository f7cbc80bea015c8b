"""What Loki refuses, in sentences with the next step."""

import re
from http import HTTPStatus
from typing import Final

from drift.errors import LokiError

__all__ = ["AnswerTooLarge", "EntryLimitExceeded", "refusal"]

#: Characters of an answer that a sentence quotes.
_QUOTED: Final = 300

#: Loki's words: "max entries limit per query exceeded, limit > max_entries_limit_per_query (10000 > 5000)".
_ENTRY_LIMIT: Final = re.compile(r"max entries limit.*?(?:\(\s*\d+\s*>\s*(\d+)\s*\)|$)", re.DOTALL)
_RANGE_LIMIT: Final = re.compile(r"time range exceeds the limit|max_query_length|max_query_lookback")

_REMEDIES: Final = {
    400: 'check LOKI_QUERY; it must be a log query such as {app="ml-inference"} |= "prediction"',
    401: "set LOKI_TENANT_ID, and LOKI_TOKEN or LOKI_USERNAME and LOKI_PASSWORD, to what this server accepts",
    403: "give these credentials the right to read logs of this tenant (LOKI_TENANT_ID), or use others",
    404: "set LOKI_BASE_URL to the address before /loki/api/v1, with the path that a gateway puts there",
    413: "shorten LOKI_QUERY, or raise the request size of the proxy before Loki",
    429: "raise the limits of the tenant in Loki, or ask less often (DRIFT_EVALUATION_INTERVAL_SECONDS)",
}
_MEANINGS: Final = {
    400: "refuses the query",
    401: "asks who we are",
    403: "does not let us read",
    404: "has no query_range there",
    429: "says that it is asked too much",
}
_UNAVAILABLE: Final = "look at Loki's own log and load; the next evaluation goes on where this one stopped"


class EntryLimitExceeded(Exception):  # noqa: N818 - not an error: the way to learn the server's maximum
    """A page was asked that is larger than the server gives; `maximum` is what it gives, None if it did not say."""

    def __init__(self, maximum: int | None) -> None:
        self.maximum = maximum


class AnswerTooLarge(Exception):  # noqa: N818 - the way to learn what page fits
    """An answer had more bytes than we take."""


def refusal(address: str, status: int, text: str, location: str | None) -> LokiError | EntryLimitExceeded:
    """Return what an answer with another status than 200 means. `text` is its body, without secrets."""
    if status == 400 and (found := _ENTRY_LIMIT.search(text)):
        return EntryLimitExceeded(int(found.group(1)) if found.group(1) else None)
    if 300 <= status < 400:
        return LokiError(
            address,
            f"sends us elsewhere ({status} to {(location or 'nowhere').split('?')[0]})",
            "set LOKI_BASE_URL to Loki itself; a login page or Grafana is no Loki",
            status=status,
        )
    remedy = _REMEDIES.get(status, _UNAVAILABLE if status >= 500 else "look at what stands before Loki")
    if status == 400 and _RANGE_LIMIT.search(text):
        remedy = "lower LOKI_RANGE_MINUTES, or raise max_query_length of the tenant"
    meaning = _MEANINGS.get(status, "cannot answer now" if status >= 500 else "does not answer the query")
    quoted = " ".join(text.split())[:_QUOTED] or _phrase(status)
    return LokiError(address, f"{meaning} ({status}: {quoted})", remedy, status=status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
