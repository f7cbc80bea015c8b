"""The event inside a log line, whatever collectors and container runtimes put around it.

Known wrappings: the log line of the inference service, whose `message` is the event as a JSON string; the same with
`message` already parsed; the event with its fields at the top; and each of these as the `log` of Docker's json-file
driver, or as the `message` of a collector.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

__all__ = ["EVENT_LOGGER", "BrokenEvent", "NotJson", "WrappedEvent", "as_seconds", "unwrap"]

#: The logger that the inference service logs events with.
EVENT_LOGGER: Final = "drift-monitoring"

#: Docker in a collector in a log line: more layers than this nobody has.
_MAX_LAYERS: Final = 4
#: Where collectors put what they took in.
_INNER: Final = ("message", "log", "msg", "body", "line")
_TIMES: Final = ("timestamp", "time", "ts", "@timestamp")


class NotJson(Exception):  # noqa: N818 - not an error: the way out of reading
    """The line is no JSON object."""


class BrokenEvent(Exception):  # noqa: N818 - the same
    """There was an event, and it is cut or broken."""


@dataclass(frozen=True, slots=True)
class WrappedEvent:
    """An event, and when its line says it was written: seconds since 1970, None when it does not."""

    event: dict[str, Any]
    timestamp: float | None


def unwrap(line: bytes | str) -> WrappedEvent | None:
    """Return the prediction event of a line, None for a normal log line. Raises `NotJson` and `BrokenEvent`."""
    try:
        record = orjson.loads(line)
    except ValueError:
        raise NotJson from None
    if not isinstance(record, dict):
        raise NotJson
    timestamp = None
    for _ in range(_MAX_LAYERS):
        inner_time = next((seconds for name in _TIMES if (seconds := as_seconds(record.get(name)))), None)
        # The innermost line knows best when it was written.
        timestamp = timestamp if inner_time is None else inner_time
        if "event_id" in record and "features" in record:
            return WrappedEvent(record, timestamp) if record.get("event") == "prediction" else None
        if "event_id" in record and record.get("event") == "prediction":
            raise BrokenEvent
        inner = _inner(record)
        if inner is None:
            return None
        record = inner
    return None


def _inner(record: dict[str, Any]) -> dict[str, Any] | None:
    for name in _INNER:
        value = record.get(name)
        if isinstance(value, dict):
            return value
        if isinstance(value, str):
            return _parsed(record, name, value)
    return None


def _parsed(record: dict[str, Any], name: str, text: str) -> dict[str, Any] | None:
    if text.lstrip()[:1] != "{":
        if name == "log":  # what Docker took in: one line of a program that prints JSON only
            raise NotJson
        return None
    try:
        value = orjson.loads(text)
    except ValueError:  # not JSON, or (lone surrogates) not even UTF-8
        if record.get("logger") == EVENT_LOGGER or name == "log":
            raise BrokenEvent from None
        return None
    return value if isinstance(value, dict) else None


def as_seconds(moment: object) -> float | None:
    """Return the seconds since 1970 of a time in ISO 8601, in UTC where it names no zone; None for all else."""
    if not isinstance(moment, str):
        return None
    try:
        found = datetime.fromisoformat(moment)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
