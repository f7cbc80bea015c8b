"""Registries that take their time, or go away and come back: bounded, and told in one sentence."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference.artifacts import MlflowRepository
from inference.errors import ModelNotFoundError, RegistryUnavailableError
from tests.inference.artifacts.faulty_server import FaultyServer, fail


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server that sends a byte each fifth of a second and never ends: no read ever takes too long."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    while not ended.wait(0.2):
                        connection.sendall(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def one_sentence(text: str) -> bool:
    return "\n" not in text and "Traceback" not in text


def test_trickle(trickle: str, cache_dir: Path) -> None:
    """An answer that never ends is ended by the time limit of the whole fetch."""
    repository = MlflowRepository("models:/iris/1", trickle, cache_dir, fetch_timeout_seconds=2)
    begin = time.monotonic()
    error = fail(repository)
    assert isinstance(error, RegistryUnavailableError)
    assert "fetching models:/iris/1 took more than 2 seconds" in str(error)
    assert one_sentence(str(error))
    assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_hanging(cache_dir: Path) -> None:
    """A server that takes a connection and says nothing is given up by its own time limit, a sentence earlier."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        repository = MlflowRepository("models:/iris/1", address, cache_dir, fetch_timeout_seconds=8)
        begin = time.monotonic()
        error = fail(repository)
    assert isinstance(error, RegistryUnavailableError)
    assert f"the registry at {address} cannot be used: " in str(error)
    assert "did not answer in time" in str(error) or "took more than 8 seconds" in str(error)
    assert one_sentence(str(error))
    assert time.monotonic() - begin < 12


def test_not_found(server: FaultyServer, cache_dir: Path) -> None:
    """A 404 of MLflow itself is a model that does not exist; one sentence says what there is."""
    body = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}).encode()
    names = json.dumps({"registered_models": [{"name": "rose"}]}).encode()
    server.answer = lambda path: (200, names) if "search" in path else (404, body)
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert isinstance(error, ModelNotFoundError)
    assert "there is no model iris; the registry has rose" in str(error)
    assert one_sentence(str(error))


@pytest.mark.slow
def test_failing_since(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """The time of the first failure stays while it fails, stale models included, and goes with a success."""
    repository = MlflowRepository("models:/iris@champion", server.address, cache_dir)
    begin = datetime.now(UTC)
    fail(repository)
    first = repository.diagnostics().failing_since
    assert first is not None
    assert begin <= first <= datetime.now(UTC)
    fail(repository)
    assert repository.diagnostics().failing_since == first
    server.serve(bundles["forest"])
    repository.fetch()
    diagnostics = repository.diagnostics()
    assert (diagnostics.failing_since, diagnostics.last_error) == (None, "")
    server.answer = lambda _path: (401, b"no")
    fail(repository)
    server.answer = lambda _path: (503, b"down")
    assert repository.fetch().stale_reason
    later = repository.diagnostics().failing_since
    assert later is not None
    assert later > first
