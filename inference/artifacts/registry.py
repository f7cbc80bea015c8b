"""What fetching needs of a registry, whichever way it is read; and how a model URI is resolved by it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from inference.artifacts.model_uri import ModelUri, UriKind
from inference.errors import ModelNotFoundError, RegistryError

__all__ = ["DIGEST_TAG", "ArtifactSource", "ModelVersion", "Registry", "resolve"]

#: Tag of a model version with the digest of its bundle; training writes it.
DIGEST_TAG: Final = "coalmine.digest"
#: How many names an error sentence lists.
_LISTED: Final = 20
_TRAIN: Final = "train and register a model with `python -m training.train`"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model version as the registry has it.

    `digest` is the digest tag, empty without one. `status` is `READY` once its artifacts are there. `run_id`
    is the run that made it, empty when the registry does not tell. A run stands here too, as a version named
    by its run id with `name` empty.
    """

    name: str
    version: str
    digest: str = ""
    stage: str = "None"
    status: str = "READY"
    run_id: str = ""


class ArtifactSource(Protocol):
    """The artifacts of one model version."""

    def names(self) -> set[str]:
        """List the files at the top."""

    def download(self, path: str, target: Path, limit_bytes: int) -> None:
        """Write the artifact `path` to the file `target`; raises `BundleError` beyond `limit_bytes`."""


class Registry(Protocol):
    """Questions to a registry. Each raises `RegistryError` or `RegistryUnavailableError`, and gives None or
    nothing for what does not exist.
    """

    def version(self, name: str, number: str) -> ModelVersion | None:
        """Look up a version by its number."""

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Look up the version that an alias points to."""

    def versions(self, name: str) -> Iterator[ModelVersion]:
        """List the versions of a model, the highest first."""

    def aliases(self, name: str) -> dict[str, str] | None:
        """List the aliases of a model with their versions; None when there is no such model."""

    def model_names(self) -> list[str]:
        """List the registered models, or the first of them."""

    def open_version(self, version: ModelVersion) -> ArtifactSource:
        """Give access to the artifacts of a version."""

    def open_run(self, run_id: str, path: str) -> ArtifactSource | None:
        """Give access to the artifacts of a model that a run logged; None when there is no such run."""

    def run_metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run; empty when there is no such run."""

    def server_version(self) -> str:
        """Tell the version of MLflow that answers; empty when it does not tell."""


def resolve(registry: Registry, uri: ModelUri) -> ModelVersion:
    """Return the model version that `uri` (not one of a run) names now.

    Raises `ModelNotFoundError` listing what exists instead, and `RegistryError` for a version that is not
    ready.
    """
    if uri.kind is UriKind.VERSION:
        found = registry.version(uri.name, uri.selector)
    elif uri.kind is UriKind.ALIAS:
        found = registry.version_by_alias(uri.name, uri.selector)
    elif uri.kind is UriKind.LATEST:
        found = next(registry.versions(uri.name), None)
    else:
        versions = registry.versions(uri.name)
        found = next((version for version in versions if version.stage == uri.selector), None)
    if found is None:
        raise _not_found(registry, uri)
    if found.status != "READY":
        raise RegistryError(f"{uri} leads to version {found.version}, which is {found.status} and not READY")
    return found


def _not_found(registry: Registry, uri: ModelUri) -> ModelNotFoundError:
    aliases = registry.aliases(uri.name)
    if aliases is None:
        names = registry.model_names()
        existing = f"the registry has {_list(names)}" if names else "the registry has no models"
        remedy = f"{_TRAIN}, or set MLFLOW_MODEL_NAME or MODEL_URI to a model that exists"
        return ModelNotFoundError(str(uri), f"there is no model {uri.name}", existing=existing, remedy=remedy)
    versions = [version.version for version in islice(registry.versions(uri.name), _LISTED + 1)]
    existing = f"{uri.name} has the versions {_list(versions)}" if versions else f"{uri.name} has no versions"
    if uri.kind is UriKind.ALIAS:
        known = [f"{alias} (version {number})" for alias, number in sorted(aliases.items())]
        existing += f" and the aliases {_list(known)}" if known else " and no aliases"
        remedy = "set that alias in the registry, or set MLFLOW_MODEL_ALIAS or MODEL_URI to what exists"
    elif uri.kind is UriKind.LATEST:
        remedy = _TRAIN
    else:
        remedy = "set MODEL_URI to what exists"
    what = "version" if uri.kind is UriKind.LATEST else f"{uri.kind.value} {uri.selector}"
    return ModelNotFoundError(str(uri), f"{uri.name} has no {what}", existing=existing, remedy=remedy)


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (" and more" if len(names) > _LISTED else "")
