"""One real server process for all laws over a running server; after each test it must still be sound."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference.conftest import ROOT, Process, bundle, make_bundle
from tests.property.server import TOKEN, Server

__all__ = ["bundle", "make_bundle", "one_server", "server"]


@pytest.fixture(scope="session")
def one_server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start `python -m inference` on ports of its own, with small limits so that they are reached."""
    environment = {
        **{
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MODEL_", "MLFLOW_", "GRPC_"))
        },
        "PYTHONPATH": str(ROOT),
        "MODEL_SOURCE": "local",
        "MODEL_PATH": str(bundle),
        "MODEL_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "ADMIN_API_TOKEN": TOKEN,
        "GRPC_HOST": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "GRPC_PORT": "0",
        "HTTP_PORT": "0",
        "GRPC_MAX_MESSAGE_BYTES": str(256 * 1024),
        "MAX_ROWS_PER_REQUEST": "1000",
        "DRAIN_DELAY_SECONDS": "0",
    }
    popen = subprocess.Popen(
        [sys.executable, "-m", "inference"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    process = Process(popen)
    process.start_reading()
    try:
        with Server(process) as server:
            yield server
            popen.terminate()
            assert process.end() == 0
    finally:
        popen.kill()
        process.end()
        assert popen.stdout is not None
        popen.stdout.close()


@pytest.fixture
def server(one_server: Server) -> Iterator[Server]:
    """The server, checked after the test."""
    yield one_server
    one_server.check()
