"""The fetching process: `python -m inference.artifacts.fetch`, a request on standard input, a line back.

Resolving and downloading happen here and not in the server, so that neither the MLflow library nor a slow
registry takes memory, interpreter time or stability from serving.
"""

import hashlib
import os
import sys
import threading
import time
from pathlib import PurePosixPath
from typing import Final, TextIO

from inference.artifacts.address import database_file, fingerprint, identify, is_http, redact
from inference.artifacts.bundle import Bundle
from inference.artifacts.cache import Cache, Record, is_digest
from inference.artifacts.exchange import Reply, Request, encode_error
from inference.artifacts.library_registry import LibraryRegistry
from inference.artifacts.manifest import MANIFEST_FILE, parse_manifest
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.artifacts.registry import DIGEST_TAG, ArtifactSource, ModelVersion, Registry, resolve
from inference.artifacts.rest_registry import RestRegistry
from inference.errors import BundleError, CacheError, InferenceError, ModelNotFoundError

__all__ = ["fetch", "main"]

#: A manifest of a thousand features takes 100 kB; this keeps a hostile registry from filling the memory.
_MANIFEST_LIMIT_BYTES: Final = 64 << 20
_PARENT_CHECK_SECONDS: Final = 0.25
_REMEDY_PLAIN: Final = "register it with `python -m training.train`"


def main(parent: int) -> int:
    """Answer the request on standard input with one line on standard output; end when `parent` does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    answers = _take_stdout()
    request = Request.from_json(sys.stdin.read())
    os.environ.update(_library_environment(request))
    try:
        line = fetch(request).to_json()
    except InferenceError as error:
        line = encode_error(error, lambda text: redact(text, request.tracking_uri, request.credentials))
    answers.write(f"{line}\n")
    answers.flush()
    return 0


def fetch(request: Request) -> Reply:
    """Resolve the model URI, and see to it that its verified bundle is in the cache."""
    uri = parse_model_uri(request.model_uri)
    state = fingerprint(request.tracking_uri)  # before reading: a change in between shows next time
    registry = _open_registry(request, uri)
    cache = Cache(request.cache_dir)
    cache.remove_leftovers()
    version = ModelVersion("", uri.name) if uri.kind is UriKind.RUN else resolve(registry, uri)
    try:
        bundle = cache.find(version.digest) or _download(registry, uri, version, cache)
    except BundleError as error:
        raise BundleError(_label(uri, version), error.reason, error.remedy) from error
    name = version.name or bundle.manifest.name
    record = Record(name, version.version, bundle.digest, state)
    warning = ""
    try:
        cache.write_record(identify(request.tracking_uri), str(uri), record)
    except CacheError as error:  # the bundle is there; what is missing is the fallback for an outage
        warning = str(error)
    return Reply(name, version.version, bundle.digest, registry.server_version(), warning)


def _open_registry(request: Request, uri: ModelUri) -> Registry:
    if is_http(request.tracking_uri):
        return RestRegistry(request.tracking_uri, request.credentials, request.timeout_seconds)
    file = database_file(request.tracking_uri)
    if file is not None and not file.exists():  # MLflow would create an empty registry
        raise ModelNotFoundError(
            str(uri),
            f"the registry file {file} does not exist",
            existing="nothing is registered there",
            remedy="train a model with `python -m training.train` or `invoke train`, "
            "or set MLFLOW_TRACKING_URI to the registry that has it",
        )
    return LibraryRegistry(request.tracking_uri)


def _download(registry: Registry, uri: ModelUri, version: ModelVersion, cache: Cache) -> Bundle:
    source = _open_source(registry, uri, version)
    with cache.staging() as directory:
        source.download(MANIFEST_FILE, directory / MANIFEST_FILE, _MANIFEST_LIMIT_BYTES)
        content = (directory / MANIFEST_FILE).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if uri.kind is not UriKind.RUN and digest != version.digest:
            reason = f"{MANIFEST_FILE} has the digest {digest} and the tag {DIGEST_TAG} says {version.digest}"
            raise BundleError(_label(uri, version), reason, "its artifacts were changed: register it again")
        manifest = parse_manifest(content, _label(uri, version))
        with cache.lock(digest):
            found = cache.find(digest)  # by another process, or (of a run) earlier
            if found is not None:
                return found
            cache.require_bytes(sum(file.size_bytes for file in manifest.files))
            for file in manifest.files:
                target = directory / PurePosixPath(file.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                source.download(file.path, target, file.size_bytes)
            return cache.install(directory, digest)


def _open_source(registry: Registry, uri: ModelUri, version: ModelVersion) -> ArtifactSource:
    from_run = uri.kind is UriKind.RUN
    source = registry.open_run(uri.name, uri.selector) if from_run else registry.open_version(version)
    if source is None:
        existing = "the registry has other runs or none"
        remedy = "name a run that exists, or a model version as in models:/name/7"
        raise ModelNotFoundError(str(uri), f"there is no run {uri.name}", existing=existing, remedy=remedy)
    names = source.names()
    if MANIFEST_FILE not in names:
        found = ", ".join(sorted(names)) or "no files"
        reason = f"it has no {MANIFEST_FILE} (found {found})"
        raise BundleError(_label(uri, version), reason, _REMEDY_PLAIN)
    if not from_run and not is_digest(version.digest):  # runs have no tag: their manifest is believed
        reason = f"the tag {DIGEST_TAG} is {version.digest!r} and the digest of its bundle is expected"
        raise BundleError(_label(uri, version), reason, _REMEDY_PLAIN)
    return source


def _label(uri: ModelUri, version: ModelVersion) -> str:
    return str(uri) if uri.kind is UriKind.RUN else f"{version.name} version {version.version}"


def _library_environment(request: Request) -> dict[str, str]:
    """Tell the MLflow library what it takes from the environment only."""
    told = {
        "MLFLOW_TRACKING_USERNAME": request.credentials.username,
        "MLFLOW_TRACKING_PASSWORD": request.credentials.password,
        "MLFLOW_TRACKING_TOKEN": request.credentials.token,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    return {name: value for name, value in told.items() if value}


def _end_with(parent: int) -> None:
    """End this process when the server does: nobody waits for the answer then."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


def _take_stdout() -> TextIO:
    """Keep standard output for the answer: what libraries print goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
