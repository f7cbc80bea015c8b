"""Models of an MLflow registry, fetched by a child process into the cache."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from inference.artifacts.address import database_file, fingerprint, identify, redact
from inference.artifacts.cache import Cache, Record
from inference.artifacts.child import ChildTimeoutError, Limits, run_child
from inference.artifacts.detached_signature import SignatureCheck
from inference.artifacts.exchange import Reply, Request, decode_reply
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.artifacts.repository import Credentials, FetchedModel, RegistryDiagnostics
from inference.artifacts.trial import Trial
from inference.errors import BundleError, CacheError, InferenceError, RegistryUnavailableError

__all__ = ["MlflowRepository"]

log = structlog.stdlib.get_logger("inference.artifacts")

#: A bundle that another process evicts between the end of the fetch and our mark is fetched again; that it
#: happens ten times in a row means that the cache is too small for the processes that share it. (Three times
#: in a row came about with three processes that fetch without a pause into a cache with room for two.)
_TRIES: Final = 10


class MlflowRepository:
    """Bundles of the model versions of an MLflow registry; any number of threads may share it.

    A fetch asks the registry in a child process, with two exceptions that the cache answers by itself (each
    logged as "model served from cache"): a registry that is a file nobody has written to since, and an
    explicit version number of a server, since MLflow never changes a version. So a version that was deleted,
    or a server that was set up anew under the same address, is not noticed for `models:/name/7`; clear the
    cache then. When the registry cannot be used at all and `allow_stale` holds, the last good model of the
    URI is given with a `stale_reason`. A model counts as good when it was signed (with `public_key_file`) and
    passed its trial (with `trial`).
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
        max_cache_bytes: int | None = None,
        trial: Trial | None = None,
        public_key_file: Path | None = None,
    ) -> None:
        self._model_uri = model_uri
        self._trial = trial
        self._signature = None if public_key_file is None else SignatureCheck(public_key_file)
        self._allow_stale = allow_stale
        self._address = identify(tracking_uri)
        self._cache = Cache(cache_dir.absolute())
        self._request = Request(
            "",
            tracking_uri,
            cache_dir.absolute(),
            credentials or Credentials(),
            fetch_timeout_seconds,
            max_cache_bytes=max_cache_bytes,
            signature_required=public_key_file is not None,
            allow_pickle=trial is not None and trial.allow_pickle,
            memory_bytes=(Limits() if trial is None else trial.limits).memory_bytes,
        )
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
            self._note_failure(error)
            stale = self._find_stale(uri, error)
            if stale is None:
                raise
            return stale
        except InferenceError as error:
            self._note_failure(error)
            raise

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell what is known of the registry."""
        return self._diagnostics

    def _fetch_from_cache(self, uri: ModelUri) -> FetchedModel | None:
        record = self._cache.read_record(self._address, str(uri))
        if record is None or not self._is_current(uri, record):
            return None
        fetched = self._open(record)
        if fetched is None or not self._is_signed(fetched):
            return None
        self._require_good(fetched)
        log.info("model served from cache", model=record.name, version=record.version)
        with self._lock:
            self._diagnostics = self._diagnostics.succeeded(verified=False)
        return fetched

    def _is_current(self, uri: ModelUri, record: Record) -> bool:
        if database_file(self._request.tracking_uri) is None:
            return uri.kind is UriKind.VERSION
        return record.fingerprint != "" and record.fingerprint == fingerprint(self._request.tracking_uri)

    def _is_signed(self, fetched: FetchedModel) -> bool:
        """Tell whether the signature in the cache will do; the registry may have another one by now."""
        try:
            self._require_signature(fetched)
        except BundleError:
            return False
        return True

    def _fetch_by_child(self, uri: ModelUri) -> FetchedModel:
        for _ in range(_TRIES):
            reply = self._run_child(uri)
            if reply.warning:
                log.warning("cache beyond its quota", reason=reply.warning)
            record = Record(reply.name, reply.version, reply.digest, reply.fingerprint)
            fetched = self._open(record)
            if fetched is not None:
                break
        else:
            reason = (
                f"the bundle {reply.digest} vanished or changed right after it was fetched, {_TRIES} times in a "
                "row; the processes that share the cache need more than MODEL_CACHE_MAX_BYTES allows"
            )
            raise CacheError(str(self._request.cache_dir), reason)
        self._require_good(fetched)
        self._remember(uri, record)
        with self._lock:
            version = reply.server_version
            self._diagnostics = self._diagnostics.succeeded(server_version=version, verified=True)
        return fetched

    def _run_child(self, uri: ModelUri) -> Reply:
        request = replace(self._request, model_uri=str(uri))
        try:
            ended = run_child("inference.artifacts.fetch", request.to_json(), seconds=request.timeout_seconds)
        except ChildTimeoutError:
            reason = f"fetching {uri} took more than {request.timeout_seconds:g} seconds"
            raise RegistryUnavailableError(self._address, reason) from None
        ended = replace(ended, stderr=redact(ended.stderr, request.tracking_uri, request.credentials))
        if ended.stderr.strip():
            log.debug("the fetching process wrote", stderr=ended.stderr.strip())
        try:
            return decode_reply(ended.stdout)
        except ValueError:
            reason = f"the process that fetches {uri} {ended.how}"
            raise RegistryUnavailableError(self._address, reason) from None

    def _remember(self, uri: ModelUri, record: Record) -> None:
        try:
            self._cache.write_record(self._address, str(uri), record)
        except CacheError as error:  # the bundle is there; what is missing is the fallback for an outage
            log.warning("model URI not remembered", reason=str(error))

    def _find_stale(self, uri: ModelUri, error: RegistryUnavailableError) -> FetchedModel | None:
        record = self._cache.read_record(self._address, str(uri)) if self._allow_stale else None
        fetched = self._open(record) if record is not None else None
        if fetched is None:
            return None
        try:
            self._require_good(fetched)
        except BundleError as refusal:
            log.warning("last good model is not good any more", reason=str(refusal))
            return None
        log.warning(
            "registry cannot be used, last good model from the cache",
            model=fetched.name,
            version=fetched.version,
            reason=error.reason,
        )
        return replace(fetched, stale_reason=str(error))

    def _open(self, record: Record) -> FetchedModel | None:
        hold = self._cache.hold(record.digest)  # first: what is not marked may be evicted any time
        bundle = self._cache.find(record.digest)
        if bundle is None:
            hold.release()
            return None
        return FetchedModel(record.name, record.version, bundle, hold=hold)

    def _require_signature(self, fetched: FetchedModel) -> None:
        if self._signature is not None:
            self._signature.require(fetched.bundle, _label(fetched))

    def _require_good(self, fetched: FetchedModel) -> None:
        try:
            self._require_signature(fetched)
            if self._trial is not None:
                self._trial.require(fetched.bundle, _label(fetched))
        except BundleError:
            assert fetched.hold is not None, "it comes from the cache"
            fetched.hold.release()
            raise

    def _mention_stage(self, uri: ModelUri) -> None:
        if uri.kind is UriKind.STAGE and not self._stage_mentioned:
            self._stage_mentioned = True
            log.warning(
                "model stages are deprecated by MLflow and will go; use an alias",
                model_uri=str(uri),
                instead=f"models:/{uri.name}@champion",
            )

    def _note_failure(self, error: InferenceError) -> None:
        with self._lock:
            self._diagnostics = self._diagnostics.failed(str(error))


def _label(fetched: FetchedModel) -> str:
    return f"{fetched.name} version {fetched.version}"
