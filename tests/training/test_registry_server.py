"""The registry behind a real `mlflow server`: faults on the way, credentials, kills, and movers that meet."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pytest

from training import train
from training.bundling.bundle import verify_bundle
from training.errors import AliasConflictError, ExitCode, RegistryError
from training.registering.alias_lock import alias_lock
from training.registering.alias_moves import AliasMover
from training.registering.calls import Calls

pytestmark = pytest.mark.slow

SMALL = ["--quiet", "--param", "n_estimators=3"]
PORT = re.compile(rb"Uvicorn running on http://127\.0\.0\.1:(\d+)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server with proxied artifacts."""
    directory = tmp_path_factory.mktemp("server")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{directory}/server.db"]
    command += ["--serve-artifacts", "--artifacts-destination", str(directory / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | quiet, cwd=directory, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield wait_for_port(process, directory / "server.log")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        found = PORT.search(log.read_bytes())
        if found:
            return f"http://127.0.0.1:{found[1].decode()}"
        time.sleep(0.1)
    pytest.fail(f"no mlflow server came up: {log.read_text()[-2000:]}")


@pytest.fixture
def uri(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, named by the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return server


@pytest.fixture
def client(server: str) -> mlflow.MlflowClient:
    """Plain MLflow, past every fault."""
    return mlflow.MlflowClient(server, server)


class Way:
    """A proxy between us and the server on which a test lets things go wrong, by the end of the path."""

    def __init__(self, server: str) -> None:
        #: Once each: the status to answer instead, or None to close without the answer.
        self.faults: dict[str, list[int | None]] = {}
        self.password = ""
        self.asked: list[str] = []
        way, target = self, urlsplit(server).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                way.asked.append(path)
                if way.password and way.password not in self.headers.get("Authorization", ""):
                    self.answer(401, b"You are not authenticated.", "text/html")
                    return
                ends = [end for end, left in way.faults.items() if path.endswith(end) and left]
                fault = way.faults[ends[0]].pop(0) if ends else 0
                if fault:
                    self.answer(fault, b"busy")
                    return
                connection = http.client.HTTPConnection(target, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                content = response.read()
                connection.close()
                if fault is None:  # it was done, and nobody hears of it
                    self.close_connection = True
                    return
                self.answer(
                    response.status, content, response.getheader("Content-Type") or "application/json"
                )

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def way(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """A proxy, named by the environment as the registry."""
    proxy = Way(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    yield proxy
    proxy.close()


def test_faults_on_the_way_are_overcome(
    way: Way, client: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """429 and 503 are asked again; a version whose answer was lost is found and not made twice."""
    way.faults = {
        "/runs/log-batch": [503],
        "/registered-models/set-tag": [429],
        "/registered-models/alias": [500],
        "/model-versions/create": [None],
    }
    assert train.main([*SMALL, "--model-name", "faults", "--alias", "champion"]) == ExitCode.OK
    assert not any(way.faults.values())
    assert capsys.readouterr().out == "MODEL_URI=models:/faults/1\n"
    (version,) = client.search_model_versions("name='faults'")
    assert version.tags["coalmine.gate"] == "passed"
    assert client.get_registered_model("faults").aliases == {"champion": "1"}
    (act,) = AliasMover(way.address).read("faults").acts
    assert act.done


def test_credentials_are_used(
    way: Way, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong ones end in a sentence that names them, before the fit; the right ones train."""
    way.password = "YWRhOnNlY3JldA=="  # ada:secret
    assert train.main([*SMALL, "--model-name", "credentials"]) == ExitCode.INFRASTRUCTURE
    shown = capsys.readouterr()
    assert "401" in shown.err
    assert "the credentials" in shown.err
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert train.main([*SMALL, "--model-name", "credentials"]) == ExitCode.OK


KILLED = """
import os, signal, sys, mlflow
from training import train
from training.registering import alias_lock
alias_lock.LEASE_SECONDS = 12.0  # the next one waits until the flag of this one runs out
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(mlflow.MlflowClient, sys.argv[1], killed)
train.main(sys.argv[2:])
"""


@pytest.fixture(params=["sqlite", "server"])
def registry_uri(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> str:
    """Both kinds of registry."""
    return server if request.param == "server" else f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.mark.parametrize(
    ("call", "versions"),
    [
        ("create_logged_model", 0),
        ("log_model_artifacts", 0),
        ("finalize_logged_model", 0),
        ("create_registered_model", 0),
        ("create_model_version", 0),
        ("set_registered_model_alias", 1),
    ],
)
def test_a_killed_training_leaves_nothing_half(
    registry_uri: str, call: str, versions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at any call: no version, or a whole one; no alias; and the next training is as good as the first."""
    name = f"killed-{call}".replace("_", "-")
    flags = [*SMALL, "--model-name", name, "--alias", "champion"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "MLFLOW_TRACKING_URI": registry_uri,
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, call, *flags], env=environment, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = mlflow.MlflowClient(registry_uri, registry_uri)
    found = client.search_model_versions(f"name='{name}'")
    assert len(found) == versions
    assert all(version.status == "READY" and not version.aliases for version in found)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry_uri)
    assert train.main(flags) == ExitCode.OK
    model = client.get_registered_model(name)
    assert {alias: int(number) for alias, number in model.aliases.items()} == {"champion": versions + 1}
    for number in range(1, versions + 2):
        mlflow.set_tracking_uri(registry_uri)
        fetched = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{number}", dst_path=f"d{number}"
        )
        tags = client.get_model_version(name, str(number)).tags
        assert verify_bundle(Path(fetched)).digest == tags["coalmine.digest"]


@pytest.fixture
def iris(client: mlflow.MlflowClient, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A registered model of the test's own with versions 1 to 4, without files."""
    name = re.sub(r"\W", "-", request.node.name)
    client.create_registered_model(name)
    model_id = client.create_logged_model("0").model_id
    for _ in range(4):
        client.create_model_version(name, f"models:/{model_id}", model_id=model_id)
    return name


def test_of_movers_that_meet_on_a_server_no_move_is_lost(uri: str, iris: str) -> None:
    """Three threads with a client each make nine moves: nine acts that follow from each other, no flag left."""

    def climb(_: int) -> None:
        mover = AliasMover(uri)
        for _ in range(3):
            act = None
            while act is None:
                found = mover.read(iris).aliases.get("challenger")
                try:
                    act = mover.move(
                        iris, "challenger", str(int(found or 0) % 4 + 1), expect=found, why="climb"
                    )
                except AliasConflictError:
                    continue

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(climb, range(3)))
    acts = AliasMover(uri).read(iris).acts
    assert [act.number for act in acts] == list(range(1, 10))
    positions = [None, *(act.changes[0].after for act in acts)]
    assert [act.changes[0].before for act in acts] == positions[:-1]
    assert not [key for key in mlflow.MlflowClient(uri, uri).get_registered_model(iris).tags if "lock" in key]


def test_a_flag_that_a_killed_mover_left_runs_out(uri: str, iris: str, client: mlflow.MlflowClient) -> None:
    """It is waited for as long as it counts and removed then; a flag that is no flag counts for nothing."""
    client.set_registered_model_tag(
        iris, "coalmine.lock.00000000", json.dumps({"owner": "x", "until": time.time() + 2})
    )
    client.set_registered_model_tag(iris, "coalmine.lock.00000001", "edited by hand")
    began = time.time()
    assert AliasMover(uri).move(iris, "challenger", "1", expect=None, why="test") is not None
    assert time.time() - began > 1.5
    assert [key for key in client.get_registered_model(iris).tags if "lock" in key] == []


def test_a_lock_that_is_held_for_long_is_told(
    uri: str, iris: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits in vain is told who holds it."""
    monkeypatch.setattr("training.registering.alias_lock._WAIT_SECONDS", 0.5)
    calls = Calls(uri)
    with (
        alias_lock(calls, client, iris, "ada@elsewhere"),
        pytest.raises(RegistryError, match="ada@elsewhere has been moving aliases"),
    ):
        AliasMover(uri).move(iris, "challenger", "1", expect=None, why="test")


def test_a_lease_that_runs_out_stops_the_mover(
    uri: str, iris: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was paused for too long moves nothing any more: another one may be at it."""
    monkeypatch.setattr(
        "training.registering.alias_lock.LEASE_SECONDS", 4.0
    )  # less than the last write may take
    with pytest.raises(RegistryError, match="took longer than the 4 seconds of its lock"):
        AliasMover(uri).move(iris, "challenger", "1", expect=None, why="test")
    assert client.get_registered_model(iris).aliases == {}


def test_what_nobody_locks_is_noticed(
    uri: str, iris: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web interface moves the alias right after us: the mover says so, and the act stays unconfirmed."""
    move = mlflow.MlflowClient.set_registered_model_alias

    def moved_at_once(self: mlflow.MlflowClient, name: str, alias: str, version: str) -> None:
        move(self, name, alias, version)
        move(client, name, alias, "4")

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", moved_at_once)
    with pytest.raises(
        AliasConflictError, match="expected at version 1, and it is at version 4: somebody who takes no lock"
    ):
        AliasMover(uri).move(iris, "challenger", "1", expect=None, why="test")
    (act,) = AliasMover(uri).read(iris).acts
    assert not act.done


def test_the_commands_work_on_a_server(uri: str, iris: str, run: Callable[..., Any]) -> None:
    """Move, history and undo as processes, by the address of the server."""
    for module, arguments, output in (
        ("training.aliases", ["move", "champion", "2", "--why", "best"], "champion  models:"),
        ("training.history", [], "best (python -m training.aliases move)"),
        ("training.aliases", ["undo"], "act 2: champion 2 → none"),
    ):
        done = run(module, *arguments, "--name", iris, MLFLOW_TRACKING_URI=uri)
        assert (done.code, done.stderr) == (0, "")
        assert output in done.stdout
