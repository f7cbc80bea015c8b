"""Models of an MLflow registry, fetched by a child process into the cache."""

import os
import site
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from inference.artifacts.address import database_file, fingerprint, identify, redact
from inference.artifacts.cache import Cache, Record
from inference.artifacts.exchange import Reply, Request, decode_reply
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.artifacts.repository import Credentials, FetchedModel, RegistryDiagnostics
from inference.errors import CacheError, InferenceError, RegistryUnavailableError

__all__ = ["MlflowRepository"]

log = structlog.stdlib.get_logger("inference.artifacts")

#: The directory that holds the package `inference`.
_ROOT: Final = Path(__file__).parents[2]


class MlflowRepository:
    """Bundles of the model versions of an MLflow registry; any number of threads may share it.

    A fetch asks the registry in a child process, with two exceptions that the cache answers by itself (each
    logged as "model served from cache"): a registry that is a file nobody has written to since, and an
    explicit version number of a server, since MLflow never changes a version. So a version that was deleted,
    or a server that was set up anew under the same address, is not noticed for `models:/name/7`; clear the
    cache then. When the registry cannot be used at all and `allow_stale` holds, the last good model of the
    URI is given with a `stale_reason`.
    """

    def __init__(
        self,
        model_uri: str,
        tracking_uri: str,
        cache_dir: Path,
        credentials: Credentials | None = None,
        *,
        fetch_timeout_seconds: float = 120,
        allow_stale: bool = True,
    ) -> None:
        self._model_uri = model_uri
        self._tracking_uri = tracking_uri
        self._cache_dir = cache_dir.absolute()
        self._credentials = credentials or Credentials()
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._allow_stale = allow_stale
        self._address = identify(tracking_uri)
        self._cache = Cache(self._cache_dir)
        self._lock = threading.Lock()
        self._stage_mentioned = False
        self._diagnostics = RegistryDiagnostics(tracking_uri=self._address)

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Resolve `model_uri` (None: the configured one) and give its verified bundle; blocks for seconds.

        Raises `ModelNotFoundError`, `RegistryError`, `RegistryUnavailableError` (also when the time limit
        passes), `BundleError` or `CacheError`.
        """
        try:
            uri = parse_model_uri(model_uri or self._model_uri)
            self._mention_stage(uri)
            return self._fetch_from_cache(uri) or self._fetch_by_child(uri)
        except RegistryUnavailableError as error:
            self._note(last_error=str(error))
            stale = self._find_stale(uri, error)
            if stale is None:
                raise
            return stale
        except InferenceError as error:
            self._note(last_error=str(error))
            raise

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell what is known of the registry."""
        return self._diagnostics

    def _fetch_from_cache(self, uri: ModelUri) -> FetchedModel | None:
        record = self._cache.read_record(self._address, str(uri))
        if record is None or not self._is_current(uri, record):
            return None
        fetched = self._open(record)
        if fetched is not None:
            log.info("model served from cache", model=record.name, version=record.version)
            self._note(last_error="")
        return fetched

    def _is_current(self, uri: ModelUri, record: Record) -> bool:
        if database_file(self._tracking_uri) is None:
            return uri.kind is UriKind.VERSION
        return record.fingerprint != "" and record.fingerprint == fingerprint(self._tracking_uri)

    def _fetch_by_child(self, uri: ModelUri) -> FetchedModel:
        reply = self._run_child(uri)
        if reply.warning:
            log.warning("model URI not remembered", reason=reply.warning)
        fetched = self._open(Record(reply.name, reply.version, reply.digest))
        if fetched is None:
            reason = f"the bundle {reply.digest} vanished or changed right after it was fetched"
            raise CacheError(str(self._cache_dir), reason)
        now = datetime.now(UTC)
        self._note(last_error="", last_verified_at=now, server_version=reply.server_version)
        return fetched

    def _run_child(self, uri: ModelUri) -> Reply:
        request = Request(
            str(uri), self._tracking_uri, self._cache_dir, self._credentials, self._fetch_timeout_seconds
        )
        try:
            ended = subprocess.run(
                # `-P`: modules in the working directory must not shadow those of the libraries.
                [sys.executable, "-P", "-m", "inference.artifacts.fetch", str(os.getpid())],
                input=request.to_json(),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self._fetch_timeout_seconds,
                env=_child_environment(),
                check=False,
                start_new_session=True,  # Ctrl-C is for the server, which may be draining
            )
        except subprocess.TimeoutExpired:
            reason = f"fetching {uri} took more than {self._fetch_timeout_seconds:g} seconds"
            raise RegistryUnavailableError(self._address, reason) from None
        errors = redact(ended.stderr, self._tracking_uri, self._credentials).strip()
        if errors:
            log.debug("the fetching process wrote", stderr=errors)
        try:
            return decode_reply(ended.stdout)
        except ValueError:
            last = errors.splitlines()[-1] if errors else "it wrote nothing"
            reason = f"the process that fetches {uri} ended with {ended.returncode}: {last}"
            raise RegistryUnavailableError(self._address, reason) from None

    def _find_stale(self, uri: ModelUri, error: RegistryUnavailableError) -> FetchedModel | None:
        record = self._cache.read_record(self._address, str(uri)) if self._allow_stale else None
        fetched = self._open(record) if record is not None else None
        if fetched is None:
            return None
        log.warning(
            "registry cannot be used, last good model from the cache",
            model=fetched.name,
            version=fetched.version,
            reason=error.reason,
        )
        return replace(fetched, stale_reason=str(error))

    def _open(self, record: Record) -> FetchedModel | None:
        bundle = self._cache.find(record.digest)
        return None if bundle is None else FetchedModel(record.name, record.version, bundle)

    def _mention_stage(self, uri: ModelUri) -> None:
        if uri.kind is UriKind.STAGE and not self._stage_mentioned:
            self._stage_mentioned = True
            log.warning(
                "model stages are deprecated by MLflow and will go; use an alias",
                model_uri=str(uri),
                instead=f"models:/{uri.name}@champion",
            )

    def _note(
        self,
        *,
        last_error: str,
        last_verified_at: datetime | None = None,
        server_version: str | None = None,
    ) -> None:
        with self._lock:
            known = self._diagnostics
            self._diagnostics = RegistryDiagnostics(
                tracking_uri=known.tracking_uri,
                server_version=known.server_version if server_version is None else server_version,
                last_verified_at=last_verified_at or known.last_verified_at,
                last_error=last_error,
            )


def _child_environment() -> dict[str, str]:
    environment = dict(os.environ)
    # Where packages are installed the child finds ours by itself, and a search path of its own that names
    # that directory would put every installed module ahead of the standard library.
    if str(_ROOT) not in site.getsitepackages():
        earlier = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{earlier}" if earlier else str(_ROOT)
    return environment
