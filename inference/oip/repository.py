"""The models that this server may load and unload, as the protocol's repository."""

from collections.abc import Sequence
from typing import Protocol

from inference.catalog import Catalog
from inference.errors import PermissionDeniedError
from inference.roster import IndexEntry

__all__ = ["FixedModels", "ModelRepository"]


class ModelRepository(Protocol):
    """What `inference.roster.Roster` does for this protocol."""

    def index(self) -> Sequence[IndexEntry]:
        """List the models, those out of service too."""

    def load(self, name: str) -> None:
        """Load or reload a model."""

    def unload(self, name: str) -> None:
        """Take a model out of service."""


class FixedModels:
    """The models of a process that is told by another one what to serve."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def index(self) -> list[IndexEntry]:
        """List what serves, and the slots that serve nothing."""
        entries = []
        for slot in self._catalog.slots:
            held = slot.current or slot.previous
            name = held.name if held is not None else slot.key
            found = held.version if held is not None else ""
            if slot.current is not None:
                entries.append(IndexEntry(name, found, "READY", ""))
            else:
                reason = "unloaded" if slot.unloaded else "not loaded yet"
                entries.append(IndexEntry(name, found, "UNAVAILABLE", reason))
        return entries

    def load(self, _name: str) -> None:
        """Raise `PermissionDeniedError`."""
        raise _elsewhere()

    def unload(self, _name: str) -> None:
        """Raise `PermissionDeniedError`."""
        raise _elsewhere()


def _elsewhere() -> PermissionDeniedError:
    return PermissionDeniedError(
        "with SERVER_WORKERS above 1 models are changed over HTTP, so that all workers change together: "
        "POST /v2/repository/models/…/load, or /unload"
    )
