"""The dataset that was accepted last, as a small file beside it says: what the next one is compared with.

`data/processed/NAME.accepted.json` is written after the table itself, so it never speaks of one that is not
there. It holds the distribution of each column, so the table need not be read again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from training.contracts.stability import Profile, profile_of
from training.contracts.validated import ValidatedTable
from training.errors import ConfigError
from training.storage import describe, write_atomically

__all__ = ["PROCESSED", "Accepted", "accept", "read_accepted", "record_path"]

#: Where valid tables go, and where the one that was accepted last is looked for.
PROCESSED: Final = Path("data/processed")

_LAYOUT: Final = 1


@dataclass(frozen=True)
class Accepted:
    """A dataset that was accepted, and how its columns were distributed."""

    path: Path
    sha256: str
    rows: int
    accepted_at: str
    columns: Mapping[str, Profile]


def record_path(table: Path) -> Path:
    """Return the path of the record that stands beside `table`."""
    return table.with_name(f"{table.stem}.accepted.json")


def accept(table: ValidatedTable, path: Path) -> Accepted:
    """Write `table` to `path`, and then the record beside it. Raises `StorageError`."""
    table.write(path)
    record = {
        "layout": _LAYOUT,
        "name": table.name,
        "source": table.source,
        "file": path.name,
        "sha256": table.sha256,
        "rows": len(table.frame),
        "accepted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "columns": {str(name): profile_of(table.frame[name]).as_json() for name in _compared(table)},
    }
    write_atomically(record_path(path), (json.dumps(record, indent=1) + "\n").encode())
    return _read(record_path(path), record)


def read_accepted(path: Path) -> Accepted | None:
    """Read a record; None when nothing was accepted before. Raises `ConfigError` when it is damaged."""
    try:
        return _read(path, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = describe(error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    remedy = "remove the file, and the next valid table is accepted without a comparison"
    raise ConfigError(
        [f"the record of the dataset accepted last cannot be read ({reason}); {remedy}"], source=str(path)
    )


def _read(path: Path, record: Mapping[str, Any]) -> Accepted:
    if record["layout"] != _LAYOUT:
        raise ValueError(f"layout {record['layout']!r} is not known")
    columns = {name: Profile.from_json(profile) for name, profile in record["columns"].items()}
    return Accepted(path, str(record["sha256"]), int(record["rows"]), str(record["accepted_at"]), columns)


def _compared(table: ValidatedTable) -> list[str]:
    """Return the columns whose distribution says something: no groups and no times, which move by nature."""
    return [*table.features, table.target]
