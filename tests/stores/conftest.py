"""Emulators of Azure Blob Storage and Google Cloud Storage, as `nox -s stores` installs them."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests
from azure.storage.blob import BlobServiceClient

#: Where `nox -s stores` puts the binaries; without it these tests are skipped.
_DIRECTORY = os.environ.get("COALMINE_TEST_STORES", "")
_START_SECONDS = 60.0
#: The account that every emulator of Azure has, from Microsoft's documentation.
_ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ROWS = b"a,y\n" + b"".join(b"%d,%s\n" % (i, b"uv"[i % 2 : i % 2 + 1]) for i in range(40))


@contextmanager
def _running(command: Sequence[str | Path], ready: str) -> Iterator[int]:
    """Run an emulator on a port that the kernel chooses, and yield the port when it says that it is ready."""
    if not Path(command[0]).exists():
        pytest.skip("needs the emulators: run `nox -s stores`")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stuck = threading.Timer(_START_SECONDS, process.kill)
    stuck.start()
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if ready in line:
                break
        else:
            pytest.fail(f"it did not start: {lines}")
        threading.Thread(
            target=process.stdout.read, daemon=True
        ).start()  # so that it never waits for a reader
        yield _port(process.pid)
    finally:
        stuck.cancel()
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def _port(pid: int) -> int:
    """Return the port that a process listens on: said to be ready, it may yet be about to listen."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return int(connection.laddr.port)
        time.sleep(0.05)
    pytest.fail("it listens nowhere")


def connection_string(port: int, key: str = KEY) -> str:
    """Return what AZURE_STORAGE_CONNECTION_STRING holds for an emulator."""
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    return f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"


@pytest.fixture(scope="session")
def azure() -> Iterator[int]:
    """The port of Azurite, with the container `shop` and `tables/t.csv` in it."""
    binary = Path(_DIRECTORY, "azurite", "node_modules", ".bin", "azurite-blob")
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    command = [binary, "--blobHost", "127.0.0.1", "--blobPort", "0", *options]
    with _running(command, "successfully listens") as port:
        with BlobServiceClient.from_connection_string(connection_string(port)) as client:
            client.create_container("shop")
            client.get_blob_client("shop", "tables/t.csv").upload_blob(ROWS)
        yield port


@pytest.fixture(scope="session")
def google() -> Iterator[str]:
    """The address of fake-gcs-server, with the bucket `shop` and `tables/t.csv` in it."""
    binary = Path(_DIRECTORY, "bin", "fake-gcs-server")
    # The public host makes it answer the XML API, which obstore speaks, under its own address too.
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", "0", "-public-host", "127.0.0.1"]
    command = [binary, *where, "-backend", "memory"]
    with _running(command, "server started") as port:
        address = f"http://127.0.0.1:{port}"
        requests.post(f"{address}/storage/v1/b", json={"name": "shop"}, timeout=10).raise_for_status()
        upload = f"{address}/upload/storage/v1/b/shop/o?uploadType=media&name=tables/t.csv"
        requests.post(upload, data=ROWS, timeout=10).raise_for_status()
        yield address


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test says itself where its store is, and works in a directory of its own."""
    if not _DIRECTORY:
        pytest.skip("needs the emulators: run `nox -s stores`")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("AWS_", "STORAGE_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
