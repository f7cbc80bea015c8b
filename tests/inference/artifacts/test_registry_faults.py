"""Registries that misbehave: a real HTTP server answers as broken ones do."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from inference.artifacts import Credentials, MlflowRepository
from inference.errors import BundleError, CacheError, RegistryError, RegistryUnavailableError
from tests.inference.artifacts.bundle_kit import digest_of
from tests.inference.artifacts.faulty_server import Answer, FaultyServer, fail


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (
            401,
            b"no",
            RegistryError,
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        ),
        (
            403,
            b'{"error_code": "PERMISSION_DENIED", "message": "no"}',
            RegistryError,
            "MLFLOW_TRACKING_USERNAME",
        ),
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack",
            RegistryError,
            "MLFLOW_SERVER_ALLOWED_HOSTS=",
        ),
        (404, b"<html>nginx</html>", RegistryUnavailableError, "is it an MLflow server"),
        (200, b"<html>log in</html>", RegistryUnavailableError, "is it an MLflow server"),
        (200, b"[1]", RegistryUnavailableError, "is it an MLflow server"),
        (
            500,
            b'{"error_code": "INTERNAL_ERROR", "message": "db"}',
            RegistryUnavailableError,
            "answered 500: db",
        ),
        (503, b"busy", RegistryUnavailableError, "answered 503: busy"),
        (429, b"slow down", RegistryUnavailableError, "answered 429: slow down"),
        (400, b'{"error_code": "BAD_REQUEST", "message": "what"}', RegistryError, "400 BAD_REQUEST: what"),
    ],
)
def test_answers(
    server: FaultyServer, cache_dir: Path, status: int, body: bytes, kind: type[Exception], sentence: str
) -> None:
    """Each kind of bad answer is an error of its kind, with what to do about it."""
    server.answer = lambda _path: (status, body)
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert type(error) is kind
    assert sentence in str(error)
    assert not cache_dir.exists()


def test_retries(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """A server that fails twice and then answers is used; it is asked three times and not more."""
    server.serve(bundles["forest"])
    sound, failures = server.answer, iter([503, 500])

    def shaky(path: str) -> Answer:
        status = next(failures, None)
        return sound(path) if status is None else (status, b"not yet")

    server.answer = shaky
    assert MlflowRepository("models:/iris@champion", server.address, cache_dir).fetch().version == "1"
    assert len([path for path, _ in server.asked if "alias" in path]) == 3


def test_refused_connection(cache_dir: Path) -> None:
    """A port where nobody listens is a registry that cannot be used."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = fail(MlflowRepository("models:/iris/1", address, cache_dir))
    assert isinstance(error, RegistryUnavailableError)
    assert "refused" in str(error)


@pytest.mark.slow
def test_hanging_server(server: FaultyServer, cache_dir: Path) -> None:
    """A server that takes a call and does not answer is given up before the time limit of the fetch."""
    gate = threading.Event()
    server.answer = lambda _path: (200, b"late") if gate.wait(30) else (200, b"never")
    repository = MlflowRepository("models:/iris/1", server.address, cache_dir, fetch_timeout_seconds=8)
    begin = time.monotonic()
    error = fail(repository)
    gate.set()
    assert isinstance(error, RegistryUnavailableError)
    assert "did not answer in time" in str(error) or "took more than 8 seconds" in str(error)
    assert time.monotonic() - begin < 11


def test_time_limit(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """A fetch that exceeds its time limit is killed; what it leaves is no bundle."""
    server.serve(bundles["forest"])
    sound, gate = server.answer, threading.Event()

    def slow(path: str) -> Answer:
        if path.endswith("model.onnx"):
            gate.wait(30)
        return sound(path)

    server.answer = slow
    repository = MlflowRepository(
        "models:/iris@champion", server.address, cache_dir, fetch_timeout_seconds=1.5
    )
    error = fail(repository)
    gate.set()
    assert isinstance(error, RegistryUnavailableError)
    assert not list(cache_dir.glob("bundles/*"))


@pytest.mark.parametrize(
    ("credentials", "address", "header"),
    [
        (Credentials("me", "pass"), "http://", "Basic bWU6cGFzcw=="),
        (Credentials(token="to-ken"), "http://", "Bearer to-ken"),
        (Credentials(), "http://me:pass@", "Basic bWU6cGFzcw=="),
        (Credentials("me", "pass", "to-ken"), "http://", "Basic bWU6cGFzcw=="),
        (Credentials(), "http://", ""),
    ],
)
def test_credentials(
    server: FaultyServer,
    cache_dir: Path,
    bundles: dict[str, Path],
    credentials: Credentials,
    address: str,
    header: str,
) -> None:
    """Credentials go with every request as basic or bearer, and appear in no diagnostics."""
    server.serve(bundles["forest"])
    uri = server.address.replace("http://", address)
    repository = MlflowRepository("models:/iris@champion", uri, cache_dir, credentials)
    repository.fetch()
    assert {given for _, given in server.asked} == {header}
    assert repository.diagnostics().tracking_uri == server.address


def test_secret_in_an_answer(server: FaultyServer, cache_dir: Path) -> None:
    """A server that repeats a secret in its error does not get it into our sentence."""
    server.answer = lambda _path: (401, b"the token to-ken is old")
    repository = MlflowRepository("models:/iris/1", server.address, cache_dir, Credentials(token="to-ken"))
    assert "the token *** is old" in str(fail(repository))


@pytest.mark.parametrize("how", ["truncated", "longer", "changed"])
def test_broken_artifacts(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path], how: str) -> None:
    """Artifacts that are not those of the manifest are refused by name, and nothing of them stays."""
    server.serve(bundles["forest"])
    sound = server.answer
    changes = {"truncated": lambda b: b[:-1], "longer": lambda b: b + b"x", "changed": lambda b: b"x" + b[1:]}

    def broken(path: str) -> Answer:
        status, body = sound(path)
        return status, changes[how](body) if path.endswith("model.onnx") else body

    server.answer = broken
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert isinstance(error, BundleError)
    assert error.bundle == "iris version 1"
    assert "model.onnx" in error.reason
    assert not list(cache_dir.glob("bundles/*"))
    assert not list(cache_dir.glob("tmp-*"))


def test_hostile_digest(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """A digest tag that is a path leads nowhere."""
    server.serve(bundles["forest"], digest="../../../etc")
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert isinstance(error, BundleError)
    assert "'../../../etc'" in error.reason


def test_not_ready(server: FaultyServer, cache_dir: Path) -> None:
    """A version whose artifacts are still being written is refused by its status."""
    fields = {"name": "iris", "version": "3", "status": "PENDING_REGISTRATION"}
    server.answer = lambda _path: (200, json.dumps({"model_version": fields}).encode())
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert type(error) is RegistryError
    assert "PENDING_REGISTRATION" in str(error)


def test_child_that_dies(
    server: FaultyServer, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetching process that dies is a registry that cannot be used, with the last line that it wrote."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, os\nsys.stderr.write('out of luck\\n')\nsys.stderr.flush()\nos._exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = fail(MlflowRepository("models:/iris/1", server.address, cache_dir))
    assert isinstance(error, RegistryUnavailableError)
    assert "ended with 7: out of luck" in str(error)


def test_bad_uri(cache_dir: Path) -> None:
    """A URI of no accepted form is refused without a process, and shown in the diagnostics."""
    repository = MlflowRepository("iris", "http://127.0.0.1:9", cache_dir)
    assert "accepted are" in str(fail(repository))
    assert "accepted are" in repository.diagnostics().last_error


@pytest.mark.slow
def test_artifacts_elsewhere(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """Artifacts that the server does not hand out itself are read by the MLflow library."""
    server.serve(bundles["forest"], artifact_uri=str(bundles["forest"]))
    model = MlflowRepository("models:/iris@champion", server.address, cache_dir).fetch()
    assert model.bundle.digest == digest_of(bundles["forest"])
    assert (bundles["forest"] / "model.onnx").exists()


def test_no_library(
    server: FaultyServer,
    cache_dir: Path,
    bundles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the MLflow library is missing, the refusal says what to install."""
    server.serve(bundles["forest"], artifact_uri="s3://bucket/iris")
    (tmp_path / "mlflow.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert type(error) is RegistryError
    assert "s3://bucket/iris" in str(error)
    assert "install the extra `training`" in str(error)


def test_full_disk(server: FaultyServer, small_disk: Path, bundles: dict[str, Path]) -> None:
    """A cache without room for the bundle is an error of the cache, and it keeps the room that it had."""
    server.serve(bundles["forest"])
    (small_disk / "other").write_bytes(b"x" * 240_000)
    error = fail(MlflowRepository("models:/iris@champion", server.address, small_disk / "cache"))
    assert isinstance(error, CacheError)
    assert "are free" in error.reason
    assert not list(small_disk.glob("cache/tmp-*"))
    assert not list(small_disk.glob("cache/bundles/*"))
