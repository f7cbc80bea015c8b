"""Where models come from, as the rest of the server sees it; and the simplest such place, a directory."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from inference.artifacts.bundle import Bundle, read_bundle
from inference.errors import InferenceError

__all__ = ["Credentials", "FetchedModel", "LocalRepository", "RegistryDiagnostics", "Repository"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove to a registry who asks: a user name with its password, or a bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A verified bundle, with the name and version that the registry knows it by.

    `version` is the number of the model version as text, the run id for a `runs:/` URI, `local` for a
    directory. When `stale_reason` is not empty, the registry could not be used (it says why) and this is the
    last good model of that URI from the cache.
    """

    name: str
    version: str
    bundle: Bundle
    stale_reason: str = ""


@dataclass(frozen=True, slots=True)
class RegistryDiagnostics:
    """What is known of the registry: for `/health`, without asking anybody.

    `tracking_uri` has no credentials. `server_version` is empty until the registry was reached, or when it
    does not tell. `last_verified_at` (UTC) is when the registry last led to a verified bundle; `last_error`
    is the sentence of the last fetch that failed, empty again after one that did not.
    """

    tracking_uri: str = ""
    server_version: str = ""
    last_verified_at: datetime | None = None
    last_error: str = ""


class Repository(Protocol):
    """A place that gives verified bundles."""

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Resolve `model_uri` (None: the configured one) and give its bundle; blocks, perhaps for seconds.

        Raises `ModelNotFoundError`, `RegistryError`, `RegistryUnavailableError`, `BundleError`, `CacheError`.
        """

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell what is known of the registry."""


class LocalRepository:
    """One bundle in a directory, read and verified anew at each fetch."""

    def __init__(self, bundle_dir: Path) -> None:
        self._bundle_dir = bundle_dir
        self._diagnostics = RegistryDiagnostics()

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Read the directory; a `model_uri` is of no meaning here and is not looked at."""
        del model_uri
        try:
            bundle = read_bundle(self._bundle_dir)
        except InferenceError as error:
            last = self._diagnostics
            self._diagnostics = RegistryDiagnostics(
                last_verified_at=last.last_verified_at, last_error=str(error)
            )
            raise
        self._diagnostics = RegistryDiagnostics(last_verified_at=datetime.now(UTC))
        return FetchedModel(bundle.manifest.name, "local", bundle)

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell when the directory was last verified and what was last wrong with it."""
        return self._diagnostics
