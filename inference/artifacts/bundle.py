"""Read a bundle: nothing of it is believed before it is compared with its digest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import orjson
from google.protobuf import json_format

from inference.artifacts.manifest import MANIFEST_FILE, METRICS_FILE, parse_manifest
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import BundleFile, ModelManifest, ModelMetrics

__all__ = ["Bundle", "read_bundle"]

_REMEDY_DAMAGED: Final = "the file was changed or damaged after training; fetch or register the model again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A directory whose every listed file was compared with its digest.

    `digest` is the SHA-256 of the bytes of `manifest.json`, as 64 lower-case hexadecimal digits. `metrics` is
    None when the bundle has no `metrics.json`.
    """

    path: Path
    manifest: ModelManifest
    metrics: ModelMetrics | None
    digest: str


def read_bundle(path: Path, *, expected_digest: str | None = None) -> Bundle:
    """Read and verify the bundle in the directory `path`.

    Raises `BundleError` naming the file, what was found and what was expected: the manifest is missing, is
    not a valid `ModelManifest` of a known schema version, differs from `expected_digest`, or lists a file
    that lies outside the directory, is missing, or differs in size or SHA-256. Files that the manifest does
    not list are left alone: nothing reads them.
    """
    content = _read(path, MANIFEST_FILE)
    digest = hashlib.sha256(content).hexdigest()
    if expected_digest is not None and digest != expected_digest:
        reason = f"{MANIFEST_FILE} has the digest {digest} and {expected_digest} is expected"
        raise BundleError(str(path), reason, _REMEDY_DAMAGED)
    manifest = parse_manifest(content, str(path))
    for file in manifest.files:
        _verify(path, file)
    return Bundle(path, manifest, _read_metrics(path, manifest), digest)


def _verify(path: Path, file: BundleFile) -> None:
    target = path / PurePosixPath(file.path)
    try:
        size = target.stat().st_size
        if size != file.size_bytes:
            reason = f"{file.path} has {size} bytes and {file.size_bytes} are expected"
            raise BundleError(str(path), reason, _REMEDY_DAMAGED)
        with target.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, file.path, error) from error
    if found != file.sha256:
        reason = f"{file.path} has the SHA-256 {found} and {file.sha256} is expected"
        raise BundleError(str(path), reason, _REMEDY_DAMAGED)


def _read_metrics(path: Path, manifest: ModelManifest) -> ModelMetrics | None:
    if METRICS_FILE not in {file.path for file in manifest.files}:
        return None
    try:
        fields = orjson.loads(_read(path, METRICS_FILE))
        if not isinstance(fields, dict):
            raise ValueError(f"it is a {type(fields).__name__}")
        return json_format.ParseDict(fields, ModelMetrics(), ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError) as error:
        raise BundleError(str(path), f"{METRICS_FILE} is not a ModelMetrics message: {error}") from error


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise _unreadable(path, name, error) from error


def _unreadable(path: Path, name: str, error: OSError) -> BundleError:
    if isinstance(error, FileNotFoundError) and name == MANIFEST_FILE:
        state = f"there is no {MANIFEST_FILE}" if path.is_dir() else "there is no such directory"
        return BundleError(str(path), state, "name a directory that `python -m training.train` wrote")
    return BundleError(str(path), f"{name} cannot be read: {error.strerror or error}")
