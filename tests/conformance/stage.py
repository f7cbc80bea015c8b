"""Train a model, serve it by a process of its own, let others ask it, and end it: `nox -s conformance`.

Run by the interpreter that has our dependencies; its one argument is the interpreter that has theirs. Each file of
tests here is a pytest of its own, because tritonclient and kserve each bring messages of the same names, and
protobuf takes those once in a process.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import skops.io
from sklearn.datasets import load_iris

from training.bundling.bundle import TRUSTED_TYPES

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
TOKEN: Final = "conformance-admin-token"  # of a server that lives for this run
#: A loaded machine needs half a minute to fetch from SQLite and to try the bundle.
START_SECONDS: Final = 180
STOP_SECONDS: Final = 30


def main(theirs: str) -> int:
    """Run everything; return 0 when all of it passed."""
    with tempfile.TemporaryDirectory(prefix="coalmine-conformance-") as made:
        directory = Path(made)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": f"sqlite:///{directory / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MODEL_CACHE_DIR": str(directory / "cache"),
            "ADMIN_API_TOKEN": TOKEN,
        }
        uri = train(directory, environment)
        with served(uri, directory, environment) as ports:
            target = directory / "target.json"
            target.write_text(json.dumps(expectations(directory / "bundle") | ports | {"token": TOKEN}))
            codes = [*asked(theirs, target), conformed(ports, environment)]
    return int(any(codes))


def train(directory: Path, environment: dict[str, str]) -> str:
    """Train and register the built-in model; return its URI."""
    command = ["-m", "training.train", "--quiet", "--bundle-dir", str(directory / "bundle")]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1].removeprefix("MODEL_URI=")


def expectations(bundle: Path) -> dict[str, Any]:
    """Return rows, and what scikit-learn itself predicts for them."""
    estimator = skops.io.load(bundle / "model.skops", trusted=list(TRUSTED_TYPES))
    rows = load_iris().data[::7].astype(np.float32)
    classes = json.loads((bundle / "manifest.json").read_text())["classes"]
    shares = estimator.predict_proba(rows)
    return {
        "rows": rows.tolist(),
        "labels": [classes[index] for index in shares.argmax(axis=1)],
        "probabilities": shares.tolist(),
    }


@contextmanager
def served(uri: str, directory: Path, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Run `python -m inference`; yield its ports."""
    settings = {
        "MODEL_URI": uri,
        "GRPC_HOST": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "GRPC_PORT": "0",
        "HTTP_PORT": "0",
        "DRAIN_DELAY_SECONDS": "0",
    }
    command = [sys.executable, "-m", "inference"]
    with subprocess.Popen(
        command, cwd=directory, env=environment | settings, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        killer = threading.Timer(START_SECONDS, server.kill)
        killer.start()
        try:
            line = _line_of(server.stdout, "serving")
            killer.cancel()
            threading.Thread(
                target=server.stdout.read, daemon=True
            ).start()  # so that its output never blocks
            yield {"grpc": f"127.0.0.1:{line['grpc_port']}", "http": f"127.0.0.1:{line['http_port']}"}
        finally:
            killer.cancel()
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def _line_of(stream: Any, message: str) -> dict[str, Any]:  # noqa: ANN401  # the output of a process
    lines = []
    for line in stream:
        lines.append(line.decode())
        found = json.loads(line)
        if found.get("message") == message:
            return dict(found)
    raise RuntimeError("the server did not come up:\n" + "".join(lines))


def asked(theirs: str, target: Path) -> list[int]:
    """Run each file of tests by the other interpreter; return the exit codes."""
    environment = os.environ | {"CONFORMANCE_TARGET": str(target), "PYTHONPATH": str(ROOT)}
    pytest = [theirs, "-m", "pytest", "-q", "-c", str(HERE / "pytest.ini"), f"--rootdir={HERE}"]
    files = sorted(HERE.glob("test_*.py"))
    return [subprocess.run([*pytest, str(file)], env=environment, check=False).returncode for file in files]


def conformed(ports: dict[str, Any], environment: dict[str, str]) -> int:
    """Run our own examination against the same server; return its exit code."""
    command = ["-m", "inference", "conform", ports["grpc"], "--http", f"http://{ports['http']}"]
    token = ["--admin-token-env", "ADMIN_API_TOKEN"]
    return subprocess.run([sys.executable, *command, *token], env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
