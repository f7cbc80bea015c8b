"""Loki's answers, read by type: entries of all streams in order of time, and counts."""

import re
from typing import Any, Final, Literal

import msgspec

__all__ = ["Direction", "Entry", "decode_counts", "decode_entries", "find_maximum"]

Direction = Literal["forward", "backward"]

#: When an entry was logged (ns since 1970), its line, and what stands for its stream in this process.
Entry = tuple[int, str, int]

#: Both forms of a tenant's limits have it: YAML of /config, JSON of /loki/api/v1.
_MAXIMUM: Final = re.compile(r'"?max_entries_limit_per_query"?\s*:\s*(\d+)')
#: Loki's own times are of 64 bits; what is more is no time and no count, and would be no float either.
_HIGHEST: Final = 2**63 - 1
_NS: Final = 1_000_000_000


class _Value(msgspec.Struct, array_like=True, gc=False):
    """A log line; structured metadata may follow."""

    timestamp: str
    line: str


class _Stream(msgspec.Struct, gc=False):
    stream: dict[str, str]
    values: list[_Value]


class _Streams(msgspec.Struct, gc=False, tag_field="resultType", tag="streams"):
    result: list[_Stream]


class _Series(msgspec.Struct, gc=False):
    values: list[tuple[float, str]]


class _Matrix(msgspec.Struct, gc=False, tag_field="resultType", tag="matrix"):
    result: list[_Series]


class _Answer(msgspec.Struct, gc=False):
    data: _Streams | _Matrix


_decode = msgspec.json.Decoder(_Answer).decode


def decode_entries(body: bytes, direction: Direction) -> list[Entry]:
    """Return the entries of a log query in order of time, as the direction has it. Raises `ValueError`."""
    data: Any = _decode(body).data
    if not isinstance(data, _Streams):
        raise TypeError("a metric query where a log query is needed")
    entries: list[Entry] = []
    for stream in data.result:
        key = hash(tuple(sorted(stream.stream.items())))
        entries += [(int(value.timestamp), value.line, key) for value in stream.values]
    # Each stream is in order, all of them together are not; sorting is stable both ways.
    entries.sort(key=lambda entry: entry[0], reverse=direction == "backward")
    if entries and not all(0 <= entries[end][0] <= _HIGHEST for end in (0, -1)):
        raise ValueError("a time that is none")
    return entries


def decode_counts(body: bytes) -> dict[int, int]:
    """Return the counts of a metric query by the second (since 1970) that they end at. Raises `ValueError`."""
    data: Any = _decode(body).data
    if isinstance(data, _Streams):
        if data.result:
            raise TypeError("log lines where counts are needed")
        return {}
    counts: dict[int, int] = {}
    for series in data.result:
        for moment, value in series.values:
            second, count = float(moment), float(value)
            if not (0 <= second <= _HIGHEST // _NS and 0 <= count <= _HIGHEST):  # NaN is neither
                raise ValueError("a count that is none")
            counts[round(second)] = counts.get(round(second), 0) + round(count)
    return counts


def find_maximum(body: bytes) -> int | None:
    """Return the number of entries that a tenant's limits allow for one query, None when they do not say."""
    found = _MAXIMUM.search(body.decode("utf-8", "replace"))
    return int(found.group(1)) if found else None
