"""What must survive a restart: which alarm there is, and when its call was answered last."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson
import structlog

__all__ = ["Record", "RecordFile"]

log = structlog.stdlib.get_logger("drift")

_FILE: Final = "action.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The alarm that lasts, if any (`alarm_id`), the calls that were answered for it, and the time of the last call.

    `called_at` is in seconds since 1970, None before the first; it outlives the alarm, as the cool-down does.
    """

    alarm_id: str | None = None
    calls: int = 0
    called_at: float | None = None


class RecordFile:
    """Keeps the record in a directory, or in memory only when there is none.

    A disk that fails is logged and no reason to stop: the cool-down then holds until a restart.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / _FILE

    def read(self) -> Record:
        """Return the record, an empty one when there is none that can be read."""
        if self._path is None:
            return Record()
        try:
            return _parse(orjson.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError) as error:
            log.warning(
                "the record of actions cannot be read: an alarm may be told twice",
                path=str(self._path),
                reason=str(error),
            )
            return Record()

    def write(self, record: Record) -> None:
        """Replace the record at once, so that a crash leaves the old or the new one."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self._path.parent, prefix=f".{_FILE}-", delete=False
            ) as file:
                file.write(orjson.dumps(asdict(record)))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            log.warning(
                "the record of actions cannot be written: after a restart an alarm may be told twice",
                path=str(self._path),
                reason=str(error),
            )


def _parse(content: object) -> Record:
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    alarm_id, calls, called_at = (content.get(name) for name in ("alarm_id", "calls", "called_at"))
    if not (
        isinstance(alarm_id, str | None)
        and type(calls) is int
        and (called_at is None or isinstance(called_at, int | float))
    ):
        raise ValueError("it has other fields than alarm_id, calls and called_at")
    return Record(alarm_id, calls, called_at)
