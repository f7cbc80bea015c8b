"""The fetching process: `python -m inference.artifacts.fetch`, a request on standard input, a line back.

Resolving and downloading happen here and not in the server, so that neither the MLflow library nor a slow
registry takes memory, interpreter time or stability from serving.
"""

import os
import sys
import time
from typing import Final

from inference.artifacts.address import database_file, fingerprint, identify, is_http, redact
from inference.artifacts.cache import Cache
from inference.artifacts.childhood import end_with, take_stdout
from inference.artifacts.download import Download, label_of
from inference.artifacts.exchange import Reply, Request, encode_error
from inference.artifacts.library_registry import LibraryRegistry
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.artifacts.registry import ModelVersion, Registry, resolve
from inference.artifacts.rest_registry import RestRegistry
from inference.errors import BundleError, CacheError, InferenceError, ModelNotFoundError

__all__ = ["fetch", "main"]

#: Of the time limit, kept for the answer: a sentence about what took long is better than a kill.
_ANSWER_SHARE: Final = 0.05


def main(parent: int) -> int:
    """Answer the request on standard input with one line on standard output; end when `parent` does."""
    end_with(parent)
    answers = take_stdout()
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
    until = time.monotonic() + request.timeout_seconds * (1 - _ANSWER_SHARE)
    uri = parse_model_uri(request.model_uri)
    state = fingerprint(request.tracking_uri)  # before reading: a change in between shows next time
    registry = _open_registry(request, uri)
    cache = Cache(request.cache_dir, request.max_cache_bytes)
    cache.remove_leftovers()
    from_run = uri.kind is UriKind.RUN
    version = ModelVersion("", uri.name, run_id=uri.name) if from_run else resolve(registry, uri)
    download = Download(registry, uri, version, cache, request, until)
    try:
        # Held until this process ends: the server marks it for itself when it has the answer.
        with cache.hold(version.digest):
            bundle = download.obtain()
    except BundleError as error:
        raise BundleError(label_of(uri, version), error.reason, error.remedy) from error
    warning = _evict(cache, request, uri, bundle.digest) if download.installed else ""
    name = version.name or bundle.manifest.name
    return Reply(name, version.version, bundle.digest, registry.server_version(), warning, state)


def _evict(cache: Cache, request: Request, uri: ModelUri, digest: str) -> str:
    """Evict what the quota does not allow, but neither the new bundle nor the last good one of this URI."""
    last_good = cache.read_record(identify(request.tracking_uri), str(uri))
    keep = {digest} if last_good is None else {digest, last_good.digest}
    try:
        return cache.evict(frozenset(keep))
    except CacheError as error:  # the bundle is there; what is missing is room for others
        return str(error)


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


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
