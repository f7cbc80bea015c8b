"""What must survive a restart: which alarm there is, and when its call was answered last."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drift.state_file import StateFile

__all__ = ["Record", "RecordFile"]


@dataclass(frozen=True, slots=True)
class Record:
    """The alarm that lasts, if any (`alarm_id`), the calls that were answered for it, and the time of the last call.

    `called_at` is in seconds since 1970, None before the first; it outlives the alarm, as the cool-down does.
    """

    alarm_id: str | None = None
    calls: int = 0
    called_at: float | None = None


class RecordFile:
    """Keeps the record in a directory, or in memory only when there is none."""

    def __init__(self, directory: Path | None) -> None:
        self._file = StateFile(directory, "action.json", without="after a restart an alarm may be told twice")

    def read(self) -> Record:
        """Return the record, an empty one when there is none that can be read."""
        content = self._file.read()
        try:
            return _parse(content) if content else Record()
        except ValueError as error:
            self._file.complain("read", error)
            return Record()

    def write(self, record: Record) -> None:
        """Replace the record."""
        self._file.write(asdict(record))


def _parse(content: dict[str, Any]) -> Record:
    alarm_id, calls, called_at = (content.get(name) for name in ("alarm_id", "calls", "called_at"))
    if not (
        isinstance(alarm_id, str | None)
        and type(calls) is int
        and (called_at is None or isinstance(called_at, int | float))
    ):
        raise ValueError("it has other fields than alarm_id, calls and called_at")
    return Record(alarm_id, calls, called_at)
