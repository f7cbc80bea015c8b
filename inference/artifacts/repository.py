"""Where models come from, as the rest of the server sees it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from inference.artifacts.bundle import Bundle
from inference.artifacts.hold import Hold

__all__ = ["Credentials", "FetchedModel", "RegistryDiagnostics", "Repository"]


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

    `hold` keeps the bundle in the cache as long as anything refers to it: keep it beside whatever may serve
    the bundle. It is None for a bundle that lies in no cache.
    """

    name: str
    version: str
    bundle: Bundle
    stale_reason: str = ""
    hold: Hold | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RegistryDiagnostics:
    """What is known of the registry: for `/health`, without asking anybody.

    `tracking_uri` has no credentials. `server_version` is empty until the registry was reached, or when it
    does not tell. `last_verified_at` (UTC) is when the registry last led to a verified bundle; `last_error`
    is the sentence of the last fetch that failed, empty again after one that did not; `failing_since` (UTC) is
    when the first of the failures since then happened, None when the last fetch did not fail.
    """

    tracking_uri: str = ""
    server_version: str = ""
    last_verified_at: datetime | None = None
    last_error: str = ""
    failing_since: datetime | None = None

    def failed(self, error: str) -> "RegistryDiagnostics":
        """Return what is known after a fetch that failed now."""
        return replace(self, last_error=error, failing_since=self.failing_since or datetime.now(UTC))

    def succeeded(self, *, server_version: str | None = None, verified: bool) -> "RegistryDiagnostics":
        """Return what is known after a fetch that succeeded now.

        `server_version` is None when the registry was not asked; `verified` tells whether it led to the bundle.
        """
        return replace(
            self,
            server_version=self.server_version if server_version is None else server_version,
            last_verified_at=datetime.now(UTC) if verified else self.last_verified_at,
            last_error="",
            failing_since=None,
        )


class Repository(Protocol):
    """A place that gives verified bundles."""

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Resolve `model_uri` (None: the configured one) and give its bundle; blocks, perhaps for seconds.

        Raises `ModelNotFoundError`, `RegistryError`, `RegistryUnavailableError`, `BundleError`, `CacheError`.
        """

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell what is known of the registry."""
