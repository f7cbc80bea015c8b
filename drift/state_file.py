"""A small thing that must survive a restart, as JSON in the directory for such things."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

__all__ = ["StateFile"]

log = structlog.stdlib.get_logger("drift")


class StateFile:
    """One JSON object in a file that is replaced at once, or nothing when there is no directory.

    A disk that fails is logged, with what follows from it, and is no reason to stop.
    """

    def __init__(self, directory: Path | None, name: str, *, without: str) -> None:
        """`without` completes the sentence "… cannot be read: "."""
        self._path = None if directory is None else directory / name
        self._without = without

    def read(self) -> dict[str, Any]:
        """Return what was written last, an empty object when there is none that can be read."""
        if self._path is None:
            return {}
        try:
            content = orjson.loads(self._path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("it is no object")
            return content
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.complain("read", error)
            return {}

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace it, so that a crash leaves the old or the new one."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self._path.parent, prefix=f".{self._path.name}-", delete=False
            ) as file:
                file.write(orjson.dumps(content))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            self.complain("written", error)

    def complain(self, how: str, error: Exception) -> None:
        """Log that it cannot be `how`."""
        log.warning(f"state cannot be {how}: {self._without}", path=str(self._path), reason=str(error))
