"""Keep the cache within its quota: what was used longest ago goes first, and nothing that is in use."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from inference.artifacts.hold import unless_held

__all__ = ["Places", "evict"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the cache keeps what: given by the cache, which knows its layout."""

    bundles: Path
    trials: Path
    #: The file on which a bundle is marked as in use, by digest; its time is that of the last use.
    mark: Callable[[str], Path]
    #: The lock of a bundle that is being downloaded, by digest.
    lock: Callable[[str], Path]
    #: The lock of eviction itself.
    guard: Path
    #: A new place in which to remove what was renamed out of sight.
    aside: Callable[[], Path]


@dataclass(frozen=True, slots=True)
class _Resident:
    digest: str
    path: Path
    size_bytes: int
    used_at: float


def evict(places: Places, max_bytes: int, keep: frozenset[str]) -> int:
    """Remove bundles until the rest has at most `max_bytes`, or all that is left is in use or in `keep`.

    Returns the bytes that are left. A bundle vanishes by one rename, so that nobody sees a part of it. One
    process evicts at a time: two at once would both remove what one of them has to.
    """
    places.guard.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(places.guard):
        residents = sorted(_residents(places), key=lambda resident: resident.used_at)
        total = sum(resident.size_bytes for resident in residents)
        for resident in residents:
            if total <= max_bytes:
                break
            if resident.digest not in keep and _remove(places, resident):
                total -= resident.size_bytes
    return total


def _residents(places: Places) -> list[_Resident]:
    found = []
    for path in places.bundles.glob("*"):
        try:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            used_at = path.stat().st_mtime
        except OSError:  # another process replaces it now
            continue
        with contextlib.suppress(OSError):  # nobody has used it yet
            used_at = max(used_at, places.mark(path.name).stat().st_mtime)
        found.append(_Resident(path.name, path, size, used_at))
    return found


def _remove(places: Places, resident: _Resident) -> bool:
    """Remove one bundle; return false when it is in use or being installed."""
    aside = places.aside()
    try:
        with (
            FileLock(places.lock(resident.digest), timeout=0),
            unless_held(places.mark(resident.digest)) as free,
        ):
            if not free:
                return False
            resident.path.replace(aside)
    except (Timeout, FileNotFoundError):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    for verdict in places.trials.glob(f"{resident.digest}.*"):
        verdict.unlink(missing_ok=True)
    return True
