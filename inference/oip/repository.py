"""The models that this server may load and unload, as the protocol's repository."""

from collections.abc import Sequence
from typing import Protocol

from inference.catalog import Catalog
from inference.errors import PermissionDeniedError
from inference.roster import IndexEntry, entry_of

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
        return [entry_of(slot) for slot in self._catalog.slots]

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
