"""The cache of bundles: content-addressed, shared by processes, never with half a bundle in it.

    bundles/<digest>/        verified bundles; each is verified again whenever it is used
    resolved/<key>.json      which bundle a model URI led to last
    trials/<digest>.<key>    a trial that the bundle passed, and in which circumstances
    locks/<digest>.lock      held while a bundle is downloaded
    locks/<digest>.used      held (shared) by every process that may serve the bundle; its time is the last use
    locks/evict.lock         held while bundles are evicted
    tmp-<random>/            a download under way, or what a killed one left

A bundle is downloaded aside and renamed into place, and renamed aside before it is removed, so another process
sees all of it or nothing.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog
from filelock import FileLock

from inference.artifacts.bundle import Bundle, read_bundle
from inference.artifacts.eviction import Places, evict
from inference.artifacts.hold import Hold, hold
from inference.errors import BundleError, CacheError

__all__ = ["DEFAULT_MAX_BYTES", "Cache", "Record", "is_digest"]

log = structlog.stdlib.get_logger("inference.artifacts")

#: Room for hundreds of forests (20 to 100 MB each), and no more than a node has to spare.
DEFAULT_MAX_BYTES: Final = 10 << 30
#: No fetch takes longer, so an older `tmp-` directory belongs to a process that was killed.
_LEFTOVER_SECONDS: Final = 3600
_TEMPORARY: Final = "tmp-"
_REASONS: Final = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What a model URI led to last. `fingerprint` is the state of the registry's file then, if it has one."""

    name: str
    version: str
    digest: str
    fingerprint: str = ""


def is_digest(text: str) -> bool:
    """Tell whether `text` is 64 lower-case hexadecimal digits, and so safe as a file name."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


class Cache:
    """The cache in `directory`, which is made when something is first written to it.

    Bundles take at most `max_bytes` (None: no quota) after each `evict`, unless more are in use.
    """

    def __init__(self, directory: Path, max_bytes: int | None = None) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def find(self, digest: str) -> Bundle | None:
        """Return the bundle after verifying it; None when there is none, or only a damaged one."""
        path = self._directory / "bundles" / digest
        if not is_digest(digest) or not path.is_dir():
            return None
        try:
            return read_bundle(path, expected_digest=digest)
        except BundleError as error:
            log.warning("cached bundle is damaged and not used", error=str(error))
            return None

    def hold(self, digest: str) -> Hold:
        """Mark the bundle as in use by this process: until the mark is released it is not evicted.

        Mark first and `find` then: what was found without a mark may be gone a moment later.
        """
        return hold(self._used_file(digest)) if is_digest(digest) else Hold(None)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a new directory to download into; it is gone afterwards, unless `install` moved it away."""
        with self._guard():
            directory = self._aside()
            directory.mkdir(parents=True)
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def lock(self, digest: str) -> Iterator[None]:
        """Hold the lock of one bundle; other processes wait for it, and the system frees it on a kill."""
        with self._guard():
            file = self._lock_file(digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file):
                yield

    def install(self, directory: Path, digest: str) -> Bundle:
        """Verify the bundle in the staging `directory` and rename it into place; call it under `lock`."""
        with self._guard():
            bundle = read_bundle(directory, expected_digest=digest)
            target = self._directory / "bundles" / digest
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # damaged: `find` was asked under the lock and did not take it
                damaged = self._aside()
                target.replace(damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            directory.replace(target)
        return Bundle(target, bundle.manifest, bundle.metrics, digest)

    def evict(self, keep: frozenset[str]) -> str:
        """Remove bundles, least recently used first, until the quota holds; never those in use or in `keep`.

        Returns a warning when it does not hold even so, else nothing.
        """
        if self._max_bytes is None:
            return ""
        with self._guard():
            total = evict(self._places(), self._max_bytes, keep)
        if total <= self._max_bytes:
            return ""
        return (
            f"the bundles in {self._directory} have {total} bytes where MODEL_CACHE_MAX_BYTES allows "
            f"{self._max_bytes}, and all of them are in use"
        )

    def has_passed(self, digest: str, circumstances: str) -> bool:
        """Tell whether the bundle passed a trial in these `circumstances`."""
        return os.path.isfile(self._trial_file(digest, circumstances))

    def remember_pass(self, digest: str, circumstances: str) -> None:
        """Remember that the bundle passed a trial in these `circumstances`."""
        with self._guard():
            self._write(self._trial_file(digest, circumstances), circumstances)

    def room_bytes(self) -> int:
        """Return how large a bundle may be: what the quota allows and the disk has."""
        free = self._free_bytes()
        return min(limit for limit in (self._max_bytes, free, sys.maxsize) if limit is not None)

    def require_bytes(self, needed: int) -> None:
        """Raise `CacheError` when `needed` bytes do not fit, before the disk is filled for nothing."""
        if self._max_bytes is not None and needed > self._max_bytes:
            reason = f"the bundle has {needed} bytes and MODEL_CACHE_MAX_BYTES allows {self._max_bytes}"
            raise CacheError(str(self._directory), reason)
        free = self._free_bytes()
        if free is not None and needed > free:
            raise CacheError(str(self._directory), f"the bundle needs {needed} bytes and {free} are free")

    def read_record(self, registry: str, model_uri: str) -> Record | None:
        """Return what `model_uri` led to last in `registry`; None when that is not known."""
        try:
            fields = json.loads(self._record_file(registry, model_uri).read_bytes())
            return Record(**{key: str(fields[key]) for key in ("name", "version", "digest", "fingerprint")})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, registry: str, model_uri: str, record: Record) -> None:
        """Remember what `model_uri` leads to, in one step."""
        if self.read_record(registry, model_uri) == record:
            return
        text = json.dumps({**asdict(record), "registry": registry, "model_uri": model_uri})
        with self._guard():
            self._write(self._record_file(registry, model_uri), text)

    def remove_leftovers(self) -> None:
        """Remove what killed downloads left; failing to is no reason to fail."""
        oldest = time.time() - _LEFTOVER_SECONDS
        for path in self._directory.glob(f"{_TEMPORARY}*"):
            try:
                old = path.stat().st_mtime < oldest
            except OSError:  # another process was faster
                continue
            if old:
                shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _write(file: Path, text: str) -> None:
        aside = file.with_name(f"{uuid.uuid4().hex}.new")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text)
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)

    def _places(self) -> Places:
        directory = self._directory
        return Places(
            bundles=directory / "bundles",
            trials=directory / "trials",
            mark=self._used_file,
            lock=self._lock_file,
            guard=directory / "locks" / "evict.lock",
            aside=self._aside,
        )

    def _aside(self) -> Path:
        return self._directory / f"{_TEMPORARY}{uuid.uuid4().hex}"

    def _lock_file(self, digest: str) -> Path:
        return self._directory / "locks" / f"{digest}.lock"

    def _used_file(self, digest: str) -> Path:
        return self._directory / "locks" / f"{digest}.used"

    def _trial_file(self, digest: str, circumstances: str) -> Path:
        key = hashlib.sha256(circumstances.encode()).hexdigest()[:16]
        return self._directory / "trials" / f"{digest}.{key}"

    def _record_file(self, registry: str, model_uri: str) -> Path:
        key = hashlib.sha256(f"{registry}\n{model_uri}".encode()).hexdigest()
        return self._directory / "resolved" / f"{key}.json"

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            free = self._free_bytes()
            room = "" if free is None else f" ({free} bytes are free)"
            raise CacheError(str(self._directory), reason + room) from error

    def _free_bytes(self) -> int | None:
        for directory in (self._directory, *self._directory.absolute().parents):
            if os.path.isdir(directory):
                try:
                    return shutil.disk_usage(directory).free
                except OSError:
                    return None
        return None
