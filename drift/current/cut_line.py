"""Lines as container runtimes write them: the prefix of CRI taken off, and the parts of long lines joined.

CRI (containerd, CRI-O) writes `2026-11-23T08:00:00.123456789Z stdout F text`, and P instead of F for a part that the
next line goes on; Docker writes `{"log": "text\\n", …}`, and a part has no line end. Both cut at 16 KiB.
"""

import re
from collections.abc import Hashable
from typing import Final

import orjson

from drift.current.wrapped_line import as_seconds

__all__ = ["MAX_LINE_BYTES", "LineJoiner"]

#: Servers keep event lines under 12 KiB; what is longer than this is cut, and so no longer JSON.
MAX_LINE_BYTES: Final = 1 << 20
#: Docker cuts at 16 KiB (https://github.com/moby/moby/issues/34855); a shorter text without line end is whole.
_DOCKER_PART_BYTES: Final = 16 * 1024 - 4
#: Streams with a line begun; beyond it the oldest is given up.
_MAX_OPEN: Final = 1000

_CRI = re.compile(r"(\d{4}-\d\d-\d\dT\S+) (?:stdout|stderr) ([FP])(?::\S*)? ?")


class LineJoiner:
    """Joins the parts of lines, for each stream (a file, a container) by itself."""

    def __init__(self) -> None:
        self._open: dict[Hashable, list[str]] = {}
        #: Lines begun that no end came for, since they were last asked for.
        self.abandoned = 0

    def add(self, line: str, stream: Hashable) -> tuple[str, float | None] | None:
        """Return the whole line and the time of its wrapper (seconds since 1970), None while more must come."""
        text, whole, moment = line, True, None
        if line.startswith("{") and (record := _docker(line)) is not None:
            text, moment = record["log"], as_seconds(record.get("time"))
            whole = text.endswith("\n") or len(text.encode("utf-8", "replace")) < _DOCKER_PART_BYTES
        if (found := _CRI.match(text)) is not None:
            text, whole, moment = text[found.end() :], found.group(2) == "F", as_seconds(found.group(1))
        if text is line:
            return line, None
        text = text.rstrip("\r\n")
        if not whole:
            self._keep(text, stream)
            return None
        begun = self._open.pop(stream, None)
        return (text if begun is None else "".join([*begun, text])), moment

    def _keep(self, text: str, stream: Hashable) -> None:
        begun = self._open.setdefault(stream, [])
        begun.append(text)
        if sum(map(len, begun)) > MAX_LINE_BYTES:
            del self._open[stream]
            self.abandoned += 1
        elif len(self._open) > _MAX_OPEN:
            del self._open[next(iter(self._open))]
            self.abandoned += 1


def _docker(line: str) -> dict[str, str] | None:
    if '"log"' not in line:
        return None
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("log"), str):
        return None
    # A line of ours that has a field `log` is no line of Docker.
    return record if "stream" in record or len(record) <= 2 else None
