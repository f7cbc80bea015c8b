"""A real MLflow registry on SQLite for the tests of servers, kept by one MLflow process.

MLflow keeps too much state in a process to be imported into that of the tests, and takes seconds to import; so
one child does what it is told, line by line.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import hashlib, json, pathlib, sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()

def register(name, path):
    try:
        client.create_registered_model(name)
    except mlflow.exceptions.MlflowException:
        pass  # another version of it
    with mlflow.start_run() as run:
        mlflow.log_artifacts(path, "bundle")
    digest = hashlib.sha256(pathlib.Path(path, "manifest.json").read_bytes()).hexdigest()
    source = f"{run.info.artifact_uri}/bundle"
    return client.create_model_version(name, source, run.info.run_id, {"coalmine.digest": digest}).version

def alias(name, alias, version):
    client.set_registered_model_alias(name, alias, version)

for line in sys.stdin:
    verb, *arguments = json.loads(line)
    print(json.dumps(["answer", {"register": register, "alias": alias}[verb](*arguments)]), flush=True)
"""


class ModelRegistry:
    """Registered models in a SQLite database below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.uri = f"sqlite:///{directory}/mlflow.db"
        self.cache_dir = directory / "cache"
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, self.uri],
            cwd=directory,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def settings(self) -> dict[str, object]:
        """The settings of a server that reads this registry."""
        return {
            "model_source": "mlflow",
            "model_path": None,
            "mlflow_tracking_uri": self.uri,
            "model_cache_dir": self.cache_dir,
        }

    def register(self, name: str, bundle: Path) -> str:
        """Register a version of `name` and return its number."""
        return str(self._ask("register", name, str(bundle)))

    def alias(self, name: str, alias: str, version: str) -> None:
        """Let `alias` name `version`."""
        self._ask("alias", name, alias, version)

    def close(self) -> None:
        """End the child."""
        self._child.communicate(timeout=30)

    def _ask(self, *request: str) -> object:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        for line in self._child.stdout:
            if line.startswith('["answer", '):
                return json.loads(line)[1]
        raise AssertionError(f"the MLflow process ended at {request}")
