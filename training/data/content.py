"""What is refused about the content of a file, however it is written."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from training.errors import DatasetError, ExitCode

__all__ = ["broken", "first_line", "refuse_control", "refuse_repeated"]

#: The C0 set of ISO 6429: names stand in manifests, logs and on terminals, which NUL ends and others steer.
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


def refuse_repeated(names: Sequence[str], source: str) -> None:
    """Raise `DatasetError` when two columns have one name."""
    repeated = sorted({name for name in names if name and list(names).count(name) > 1})
    if repeated:
        reason = f"the header names {', '.join(repeated)} more than once"
        raise broken(source, reason, "give every column a name of its own")


def refuse_control(names: Iterable[str], source: str, wanted: Sequence[str] | None) -> None:
    """Raise `DatasetError` when the name of a column that matters (None: each) holds a control character."""
    for place, name in enumerate(names, 1):
        if _CONTROL.search(name) and (wanted is None or name in wanted):
            reason = f"the name of column {place}, {name!r}, holds a control character (NUL, tab, line break)"
            raise broken(source, reason, "give the column another name in the header")


def first_line(error: BaseException) -> str:
    """Return what Arrow says of a file, without what it says of itself."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def broken(source: str, reason: str, remedy: str) -> DatasetError:
    """Return the error of a file whose content is no table."""
    return DatasetError(source, reason, remedy, exit_code=ExitCode.CONTRACT)
