"""One mover at a time: an advisory lock for the aliases of one registered model.

Of a SQLite registry it is a file beside the database, which the system frees on a kill. A tracking server has
no lock to offer and no compare-and-swap, so there each mover raises a flag of its own, a tag of the registered
model, and then looks at all flags: who sees another one takes his own down and tries again later. Of two that
raise theirs at the same time, at least one sees the other, whatever the order, as long as the server answers
from one database. A flag that a killed mover left counts no more after `LEASE_SECONDS`.
"""

import contextlib
import json
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from mlflow import MlflowClient

from training.errors import RegistryError
from training.registering.calls import Calls
from training.registering.database import database_path
from training.storage import public_uri, storage_errors

__all__ = ["LEASE_SECONDS", "AliasLock", "alias_lock"]

#: A promotion is ten calls of some milliseconds; even with every retry it is over by then. Clocks of movers must
#: agree better than this.
LEASE_SECONDS: Final = 30.0
#: Of the lease, what the last write may take: who has less left writes nothing more.
_LAST_WRITE_SECONDS: Final = 5.0
#: Long enough for the flag of a killed mover to run out.
_WAIT_SECONDS: Final = 2 * LEASE_SECONDS
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_PREFIX: Final = "coalmine.lock."
_REMEDY: Final = "wait until it is done and try again"


@dataclass(frozen=True, slots=True)
class AliasLock:
    """A lock that is held until `until` by the monotonic clock."""

    registry: str
    name: str
    until: float

    def require_held(self) -> None:
        """Raise `RegistryError` when so little of the lease is left that another one might hold the lock soon."""
        if time.monotonic() > self.until - _LAST_WRITE_SECONDS:
            reason = f"moving the aliases of {self.name} took longer than the {LEASE_SECONDS:g} seconds of its lock"
            remedy = f"see `python -m training.history --name {self.name}` for what was done, and try again"
            raise RegistryError(public_uri(self.registry), reason, remedy)


@contextlib.contextmanager
def alias_lock(calls: Calls, client: MlflowClient, name: str, owner: str) -> Iterator[AliasLock]:
    """Hold the lock of the registered model `name`; others wait, and are told `owner`.

    Raises `RegistryError` when another one keeps it for a minute.
    """
    database = database_path(calls.tracking_uri)
    held = _Flag(calls, client, name, owner).held() if database is None else _file(calls, database, name)
    with held as lock:
        yield lock


@contextlib.contextmanager
def _file(calls: Calls, database: Path, name: str) -> Iterator[AliasLock]:
    # One file for all models of the registry: names of models may hold what names of files may not.
    file = database.with_name(f"{database.name}.aliases.lock")
    lock = FileLock(file)
    with storage_errors(file):
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout:  # an OSError too
            reason = f"another process has held {file} for {_WAIT_SECONDS:g} seconds"
            raise RegistryError(public_uri(calls.tracking_uri), reason, _REMEDY) from None
    try:
        yield AliasLock(calls.tracking_uri, name, float("inf"))
    finally:
        lock.release()


class _Flag:
    """A flag of one mover among the tags of a registered model."""

    def __init__(self, calls: Calls, client: MlflowClient, name: str, owner: str) -> None:
        self._calls, self._client, self._name, self._owner = calls, client, name, owner
        self._key = f"{_PREFIX}{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def held(self) -> Iterator[AliasLock]:
        try:
            yield self._acquire()
        finally:
            with contextlib.suppress(
                RegistryError
            ):  # it runs out by itself; the first error is the one to tell
                self._take_down(self._key)

    def _acquire(self) -> AliasLock:
        give_up = time.monotonic() + _WAIT_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            until = time.monotonic() + LEASE_SECONDS
            self._raise()
            others = self._others()
            if not others:
                return AliasLock(self._calls.tracking_uri, self._name, until)
            self._take_down(self._key)
            if time.monotonic() > give_up:
                reason = f"{others[0]} has been moving aliases of {self._name} for {_WAIT_SECONDS:g} seconds"
                raise RegistryError(public_uri(self._calls.tracking_uri), reason, _REMEDY)
            # At random, so that two who met do not meet again.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _raise(self) -> None:
        text = json.dumps({"owner": self._owner, "until": time.time() + LEASE_SECONDS})
        self._calls.ask(lambda: self._client.set_registered_model_tag(self._name, self._key, text))

    def _others(self) -> list[str]:
        """Return who else has a flag up; flags that ran out are removed."""
        tags = self._calls.ask(lambda: self._client.get_registered_model(self._name).tags)
        up = []
        for key, text in tags.items():
            if key.startswith(_PREFIX) and key != self._key:
                owner, until = _read(text)
                if until > time.time():
                    up.append(owner)
                else:
                    self._take_down(key)
        return up

    def _take_down(self, key: str) -> None:
        self._calls.ask(lambda: self._client.delete_registered_model_tag(self._name, key))


def _read(text: str) -> tuple[str, float]:
    try:
        fields = json.loads(text)
        return str(fields["owner"]), float(fields["until"])
    except (ValueError, KeyError, TypeError):  # somebody edited the tag by hand
        return "somebody", 0.0
