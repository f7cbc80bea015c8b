"""Bring the bundle of one model version into the cache: found there, downloaded, or made of a plain model."""

import contextlib
import hashlib
import time
from pathlib import Path, PurePosixPath
from typing import Final

from inference.artifacts.address import identify
from inference.artifacts.bundle import Bundle
from inference.artifacts.cache import Cache, Record, is_digest
from inference.artifacts.detached_signature import SIGNATURE_FILE, SIGNATURE_LIMIT_BYTES, SIGNATURE_VARIABLE
from inference.artifacts.exchange import Request
from inference.artifacts.manifest import MANIFEST_FILE, parse_manifest
from inference.artifacts.model_uri import ModelUri, UriKind
from inference.artifacts.plain_model import MLMODEL_FILE, adopt_model, download_plain
from inference.artifacts.registry import DIGEST_TAG, ArtifactSource, ModelVersion, Registry
from inference.errors import BundleError, CacheError, ModelNotFoundError

__all__ = ["Download", "label_of"]

#: A manifest of a thousand features takes 100 kB; this keeps a hostile registry from filling the memory.
_MANIFEST_LIMIT_BYTES: Final = 64 << 20
_REMEDY_PLAIN: Final = "register it with `python -m training.train`"


def label_of(uri: ModelUri, version: ModelVersion) -> str:
    """Return what sentences call the bundle."""
    return str(uri) if uri.kind is UriKind.RUN else f"{version.name} version {version.version}"


class Download:
    """One version on its way into the cache; `until` is the end of its time by the monotonic clock."""

    def __init__(
        self,
        registry: Registry,
        uri: ModelUri,
        version: ModelVersion,
        cache: Cache,
        request: Request,
        until: float,
    ) -> None:
        self._registry, self._uri, self._version = registry, uri, version
        self._cache, self._request, self._until = cache, request, until
        self._label = label_of(uri, version)
        #: Whether the cache grew by this bundle.
        self.installed = False

    def obtain(self) -> Bundle:
        """Return the verified bundle in the cache.

        Raises `BundleError`, `CacheError`, `ModelNotFoundError` for a run that does not exist, and what the
        registry raises.
        """
        bundle = self._cache.find(self._version.digest)
        if bundle is not None and not self._request.signature_required:
            return bundle
        source = self._open_source()
        names = source.names()
        if bundle is None and MANIFEST_FILE not in names:
            return self._adopt(source, names)
        bundle = bundle or self._download(source)
        if self._request.signature_required and SIGNATURE_FILE in names:
            self._add_signature(source, bundle)
        return bundle

    def _open_source(self) -> ArtifactSource:
        uri = self._uri
        if uri.kind is not UriKind.RUN:
            return self._registry.open_version(self._version)
        source = self._registry.open_run(uri.name, uri.selector)
        if source is None:
            existing = "the registry has other runs or none"
            remedy = "name a run that exists, or a model version as in models:/name/7"
            raise ModelNotFoundError(
                str(uri), f"there is no run {uri.name}", existing=existing, remedy=remedy
            )
        return source

    def _download(self, source: ArtifactSource) -> Bundle:
        tagged = self._uri.kind is not UriKind.RUN  # runs have no tag: their manifest is believed
        if tagged and not is_digest(self._version.digest):
            found = (
                f"the tag {DIGEST_TAG} is {self._version.digest!r} and the digest of its bundle is expected"
            )
            raise BundleError(self._label, found, _REMEDY_PLAIN)
        with self._cache.staging() as directory:
            source.download(MANIFEST_FILE, directory / MANIFEST_FILE, _MANIFEST_LIMIT_BYTES)
            content = (directory / MANIFEST_FILE).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if tagged and digest != self._version.digest:
                tag = f"the tag {DIGEST_TAG} says {self._version.digest}"
                reason = f"{MANIFEST_FILE} has the digest {digest} and {tag}"
                raise BundleError(self._label, reason, "its artifacts were changed: register it again")
            manifest = parse_manifest(content, self._label)
            with self._cache.lock(digest):
                found_bundle = self._cache.find(digest)  # by another process, or (of a run) earlier
                if found_bundle is not None:
                    return found_bundle
                self._cache.require_bytes(sum(file.size_bytes for file in manifest.files))
                for file in manifest.files:
                    target = directory / PurePosixPath(file.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source.download(file.path, target, file.size_bytes)
                return self._install(directory, digest)

    def _install(self, directory: Path, digest: str) -> Bundle:
        bundle = self._cache.install(directory, digest)
        self.installed = True
        return bundle

    def _add_signature(self, source: ArtifactSource, bundle: Bundle) -> None:
        """Put the registry's signature beside the manifest; it may be newer than what the cache has."""
        with self._cache.staging() as directory:
            source.download(SIGNATURE_FILE, directory / SIGNATURE_FILE, SIGNATURE_LIMIT_BYTES)
            (directory / SIGNATURE_FILE).replace(bundle.path / SIGNATURE_FILE)

    def _adopt(self, source: ArtifactSource, names: set[str]) -> Bundle:
        """Make a bundle of a plain model; the same version leads to the same bundle without doing it twice."""
        self._require_plain(names)
        registry, key = identify(self._request.tracking_uri), self._adoption_key()
        known = self._cache.read_record(registry, key)
        found = None if known is None else self._cache.find(known.digest)
        if found is not None:
            return found
        name = self._version.name or self._uri.selector.rpartition("/")[2]
        with self._cache.staging() as directory:
            download_plain(source, names, directory, self._cache.room_bytes(), self._label)
            adopt_model(
                directory,
                self._request,
                name=name,
                run_id=self._version.run_id,
                metrics=self._registry.run_metrics(self._version.run_id) if self._version.run_id else {},
                label=self._label,
                seconds=self._until - time.monotonic(),
            )
            digest = hashlib.sha256((directory / MANIFEST_FILE).read_bytes()).hexdigest()
            with self._cache.lock(digest):
                bundle = self._cache.find(digest) or self._install(directory, digest)
        with contextlib.suppress(CacheError):  # it is made again the next time
            self._cache.write_record(registry, key, Record(name, self._version.version, digest))
        return bundle

    def _require_plain(self, names: set[str]) -> None:
        found = ", ".join(sorted(names)) or "no files"
        reason = f"it has no {MANIFEST_FILE} (found {found})"
        if MLMODEL_FILE not in names:
            raise BundleError(self._label, reason, _REMEDY_PLAIN)
        if self._version.digest:
            # Whoever set the tag had a bundle: without its manifest it is damaged, and not a plain model.
            reason += f" and the tag {DIGEST_TAG} says {self._version.digest}"
            raise BundleError(self._label, reason, "its artifacts were changed: register it again")
        if self._request.signature_required:
            reason += f", so nothing in it is signed, and {SIGNATURE_VARIABLE} asks for a signature"
            raise BundleError(self._label, reason, "register it with `python -m training.train` and sign it")

    def _adoption_key(self) -> str:
        # With the run that made it: a registry that was set up anew counts versions from 1 again.
        version = self._version
        return f"plain model {self._uri if not version.name else self._label} of run {version.run_id}"
