"""A real `mlflow server` that may send webhooks on this machine."""

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

_PATIENCE_SECONDS = 120


class MlflowServer:
    """An MLflow server on a database below `directory`, with models whose versions hold nothing."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "server.log"
        for _ in range(3):  # the port may be taken between choosing it and the start
            self._start(directory)
            if self._is_up():
                break
        else:
            pytest.fail(f"no mlflow server came up: {self._log.read_text()[-2000:]}")
        self.client = MlflowClient(self.url, self.url)

    def model(self, name: str, versions: int = 3) -> str:
        """Register a model with so many versions."""
        self.client.create_registered_model(name)
        for _ in range(versions):
            self.client.create_model_version(name, "s3://bucket/nothing")
        return name

    def set(self, name: str, version: int, alias: str = "challenger") -> None:
        """Set an alias; the server sends its webhooks for it."""
        self.client.set_registered_model_alias(name, alias, str(version))

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)

    def _start(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{directory}/server.db", "--workers", "1"]
        command += ["--serve-artifacts", "--artifacts-destination", str(directory / "artifacts")]
        variables = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a new webhook counts at once, not after a minute
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _is_up(self) -> bool:
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return True
            except httpx.TransportError:
                time.sleep(0.2)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return False
