"""Whole rollouts on a real stack: MLflow on SQLite, inference servers, Envoy, closed-loop clients."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from mlflow import MlflowClient

from rollout.demo.evidence import Traffic, read_traffic, total

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUICK_PLAN = """
alpha = 0.01
deadline_seconds = 90
poll_seconds = 0.2
steps = [
    { weight = 20, min_requests = 40, min_seconds = 1, max_seconds = 60 },
    { weight = 50, min_requests = 80, min_seconds = 1, max_seconds = 60 },
]
[checks.latency]
tolerance_ratio = 4.0
tolerance_seconds = 0.2
"""

ENDLESS_PLAN = """
deadline_seconds = 600
poll_seconds = 0.2
steps = [{ weight = 30, min_requests = 1000000, max_seconds = 600 }]
[checks.latency]
enabled = false
"""


class Place:
    """A directory with a registry of its own, where commands run as a user would run them."""

    def __init__(self, directory: Path, trained: Path) -> None:
        self.directory = directory
        self.trained = trained
        database = directory / "mlflow.db"
        shutil.copy(trained / "mlflow.db", database)
        self.tracking_uri = f"sqlite:///{database}"
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MODEL_CACHE_DIR": str(directory / "cache"),
        }
        self.home = directory / "home"
        self.traffic_log = directory / "traffic.jsonl"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "invoke", "-r", str(ROOT), *arguments, "--home", str(self.home)]

    def invoke(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a task to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a task and go on."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def plan(self, text: str) -> str:
        path = self.directory / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def stack(self) -> dict[str, object]:
        return json.loads((self.home / "stack.json").read_text())

    def state(self) -> dict[str, object]:
        return json.loads((self.home / "rollout.json").read_text())

    def stable_version(self) -> str:
        port = self.stack()["stable"]["http_port"]  # type: ignore[index]
        return str(httpx.get(f"http://127.0.0.1:{port}/health").json()["model"]["version"])

    def alias(self, name: str) -> str | None:
        aliases = MlflowClient(tracking_uri=self.tracking_uri).get_registered_model("iris").aliases
        return str(aliases[name]) if name in aliases else None

    def seen(self) -> Traffic:
        return total(read_traffic([self.traffic_log]))

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this place and is not a child's zombie: by its cache, or its files."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("MODEL_CACHE_DIR") == self.environment["MODEL_CACHE_DIR"]
                mine = mine or any(word.startswith(f"{self.home}/") for word in process.cmdline())
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with versions 1 (champion to be), 2 (good) and 3 (two labels swapped)."""
    directory = tmp_path_factory.mktemp("trained")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{directory / 'mlflow.db'}",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("training.validate", "--sample")
    table = (directory / "data" / "processed" / "iris.csv").read_text().splitlines()
    swap = {"versicolor": "virginica", "virginica": "versicolor"}
    rows = [row.rsplit(",", 1) for row in table[1:]]
    swapped = [f"{values},{swap.get(label, label)}" for values, label in rows]
    (directory / "swapped.csv").write_text("\n".join([table[0], *swapped]) + "\n")
    run("training.train")
    run("training.train", "--param", "n_estimators=40")
    target = table[0].rsplit(",", 1)[1]
    last = run("training.train", "--data", "swapped.csv", "--target", target, "--model-name", "iris")
    assert last.strip().endswith("models:/iris/3")
    return directory


@pytest.fixture
def place(tmp_path: Path, trained: Path) -> Iterator[Place]:
    """A place whose processes are all gone afterwards."""
    place = Place(tmp_path, trained)
    yield place
    place.invoke("stack-down")
    left = place.processes()
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"


@pytest.fixture
def served(place: Place) -> Place:
    """The place with version 1 served behind Envoy."""
    up = place.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
    assert up.returncode == 0, up.stderr
    return place


@pytest.fixture
def busy(served: Place) -> Iterator[Place]:
    """The served place under closed-loop traffic over long-lived channels."""
    envoy = served.stack()["envoy"]
    rows = served.trained / "data" / "processed" / "iris.csv"
    address = f"127.0.0.1:{envoy['port']}"  # type: ignore[index]
    arguments = ["--address", address, "--rows", str(rows), "--log", str(served.traffic_log)]
    client = subprocess.Popen(
        [sys.executable, "-m", "rollout.demo.traffic", *arguments],
        env=served.environment,
    )
    wait_for(lambda: served.seen().sent > 20, "traffic")
    yield served
    client.terminate()
    assert client.wait(20) == 0


def test_good_version_is_promoted_and_bad_one_rolled_back_without_a_failed_call(busy: Place) -> None:
    """A good version becomes stable and champion, one with swapped labels does not; no client notices."""
    plan = busy.plan(QUICK_PLAN)
    good = busy.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--plan", plan)
    assert good.returncode == 0, good.stdout + good.stderr
    assert busy.stable_version() == "2"
    assert (busy.alias("champion"), busy.alias("previous")) == ("2", "1")
    assert busy.seen().versions["2"] > 0
    bad = busy.invoke("deploy-canary", "--model-uri", "models:/iris/3", "--plan", plan)
    assert bad.returncode == 1, bad.stdout + bad.stderr
    assert "agreement" in bad.stdout
    assert busy.stable_version() == "2"
    assert busy.alias("champion") == "2"
    assert busy.stack()["canary"] is None
    again = busy.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--plan", plan)
    assert again.returncode == 2
    assert "serves already" in again.stderr
    assert busy.seen().failed == 0


def test_json_events_tell_the_split_of_each_step(busy: Place) -> None:
    """With --json every line is an event; calls over long-lived channels are split as the weight says."""
    plan = busy.plan(QUICK_PLAN)
    done = busy.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--plan", plan, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["kind"], events[-1]["kind"]] == ["started", "ended"]
    looks = {event["step"]: event for event in events if event["kind"] == "look"}
    for look in looks.values():
        canary, stable = look["canary"]["requests"], look["stable"]["requests"]
        weight, calls = look["weight"] / 100, canary + stable
        spread = (weight * (1 - weight) / calls) ** 0.5
        assert abs(canary / calls - weight) < 5 * spread + 1 / calls
    assert [look["weight"] for look in looks.values()] == [20, 50]


def test_killed_operator_leaves_users_served_and_the_same_command_goes_on(busy: Place) -> None:
    """After kill -9 of deploy-canary nothing fails, and the next command restores stable and promotes."""
    operator = busy.start("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(ENDLESS_PLAN))
    wait_for(lambda: busy.seen().versions.get("2", 0) > 5, "canary traffic")
    operator.kill()
    operator.communicate()
    assert busy.state()["phase"] == "stepping"
    again = busy.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(QUICK_PLAN))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "unfinished" in again.stdout
    assert busy.stable_version() == "2"
    assert busy.seen().failed == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_operator_rolls_back(busy: Place, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the rollout at weight 0 with the canary gone and exit code 1."""
    operator = busy.start("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(ENDLESS_PLAN))
    wait_for(lambda: busy.seen().versions.get("2", 0) > 5, "canary traffic")
    operator.send_signal(number)
    output, _ = operator.communicate(timeout=PATIENCE_SECONDS)
    assert operator.returncode == 1, output
    assert busy.state()["phase"] == "aborted"
    assert busy.stack()["canary"] is None
    assert busy.seen().failed == 0


def test_crashed_canary_is_rolled_back_and_costs_no_call(busy: Place) -> None:
    """A canary killed under traffic aborts the rollout; its calls are answered by stable."""
    operator = busy.start("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(ENDLESS_PLAN))
    wait_for(lambda: busy.seen().versions.get("2", 0) > 5, "canary traffic")
    os.kill(busy.stack()["canary"]["process"]["pid"], signal.SIGKILL)  # type: ignore[index]
    output, _ = operator.communicate(timeout=PATIENCE_SECONDS)
    assert operator.returncode == 1, output
    assert "health" in output or "error_rate" in output
    assert busy.seen().failed == 0


def test_second_operator_is_refused(busy: Place) -> None:
    """While one rollout runs, another command that would change the stack says so and exits with 2."""
    operator = busy.start("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(ENDLESS_PLAN))
    wait_for(lambda: busy.seen().versions.get("2", 0) > 5, "canary traffic")
    second = busy.invoke("deploy-canary", "--model-uri", "models:/iris/3")
    assert second.returncode == 2
    assert "another command holds it" in second.stderr
    operator.send_signal(signal.SIGINT)
    operator.communicate(timeout=PATIENCE_SECONDS)


def test_without_traffic_a_rollout_is_inconclusive(served: Place) -> None:
    """No evidence never passes: without calls the rollout ends with exit code 3, rolled back."""
    plan = served.plan(
        "poll_seconds = 0.2\nsteps = [{ weight = 10, min_requests = 5, min_seconds = 0, max_seconds = 1 }]"
    )
    done = served.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--plan", plan)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no call arrived" in done.stdout
    assert served.stable_version() == "1"
    assert served.alias("champion") == "1"


def test_unknown_models_are_named_with_what_exists(served: Place) -> None:
    """A version, alias or model that does not exist: exit 2, a sentence with what does, nothing touched."""
    for uri, words in {
        "models:/iris/99": "versions 1, 2, 3",
        "models:/iris@nobody": "champion → 1",
        "models:/wine/1": "registered models are iris",
        "iris/1": "is not a model URI",
    }.items():
        done = served.invoke("deploy-canary", "--model-uri", uri)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    assert not (served.home / "rollout.json").exists()


def test_broken_bundle_is_refused_before_it_gets_traffic(served: Place) -> None:
    """A version whose model file was altered: exit 1 with the file's name, stable serving, canary gone."""
    client = MlflowClient(tracking_uri=served.tracking_uri)
    good = Path(client.get_model_version_download_uri("iris", "2").removeprefix("file://"))
    broken = served.directory / "broken"
    shutil.copytree(good, broken)
    with (broken / "model.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\xff\x00\xff")
    tags = client.get_model_version("iris", "2").tags
    version = client.create_model_version("iris", source=str(broken), tags=tags).version
    done = served.invoke("deploy-canary", "--model-uri", f"models:/iris/{version}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "model.onnx" in done.stdout + done.stderr
    assert served.stable_version() == "1"
    assert len([p for p in served.processes() if "inference" in p.cmdline()]) == 1


def test_stack_needs_a_free_port(place: Place) -> None:
    """A taken port: exit 2, the port named, nothing left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = place.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", str(port))
    assert done.returncode == 2, done.stderr
    assert str(port) in done.stderr
    assert not place.processes()


def test_stack_needs_a_model(place: Place) -> None:
    """An alias that nobody set: exit 2 and the versions that exist; a missing registry: how to train."""
    done = place.invoke("stack-up", "--port", "0")
    assert done.returncode == 2
    assert "models:/iris@champion does not exist" in done.stderr
    place.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{place.directory}/nothing.db"
    done = place.invoke("stack-up", "--port", "0")
    assert done.returncode == 2
    assert "invoke train" in done.stderr
    assert not (place.directory / "nothing.db").exists()


def test_second_stack_in_the_same_home_is_refused(served: Place) -> None:
    """A stack that runs is not started again; the sentence says how to have two."""
    done = served.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
    assert done.returncode == 2
    assert "runs already" in done.stderr
    assert served.stable_version() == "1"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_cache_disk_is_named(place: Place) -> None:
    """A cache on a full disk: exit 4, the directory named, nothing left running."""
    small = place.directory / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False)
    if mount.returncode:
        pytest.skip("this system does not let us mount a small disk")
    try:
        place.environment["MODEL_CACHE_DIR"] = str(small)
        done = place.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
        assert done.returncode == 4, done.stderr
        assert str(small) in done.stderr
        assert not place.processes()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_status_and_dry_run_touch_nothing(served: Place) -> None:
    """canary-status and --dry-run speak, also as JSON, and change nothing."""
    status = json.loads(served.invoke("canary-status", "--json").stdout)
    assert status["stable"] == "iris version 1"
    before = served.stack()
    dry = served.invoke("deploy-canary", "--model-uri", "models:/iris/2", "--dry-run")
    assert dry.returncode == 0
    assert "models:/iris/2" in dry.stdout
    assert served.stack() == before
    assert not (served.home / "rollout.json").exists()


@pytest.mark.parametrize("part", ["inference", "envoy_owner"])
def test_a_killed_start_leaves_nothing_that_stack_down_does_not_end(place: Place, part: str) -> None:
    """kill -9 of stack-up while stable or Envoy starts: each was recorded before it began."""

    def recorded() -> bool:
        words = [" ".join(process.cmdline()) for process in place.processes()]
        return any(part in text and "invoke" not in text and "/bin/sh" not in text for text in words)

    starter = place.start("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
    wait_for(recorded, f"the start of {part}")
    starter.kill()
    starter.communicate()
    assert place.processes()
    down = place.invoke("stack-down")
    assert down.returncode == 0, down.stderr
    wait_for(lambda: not place.processes(), "the end of what the killed command left")


def test_stable_that_dies_under_a_rollout_ends_it_with_the_way_out(busy: Place) -> None:
    """Exit 4 at once, no promotion; the next command says stack-down and stack-up, which mend it."""
    operator = busy.start("deploy-canary", "--model-uri", "models:/iris/2", "--plan", busy.plan(ENDLESS_PLAN))
    wait_for(lambda: busy.seen().versions.get("2", 0) > 5, "canary traffic")
    os.kill(busy.stack()["stable"]["process"]["pid"], signal.SIGKILL)  # type: ignore[index]
    output, _ = operator.communicate(timeout=PATIENCE_SECONDS)
    assert operator.returncode == 4, output
    assert "stack-down" in output
    assert busy.state()["phase"] == "failed"
    assert busy.alias("champion") == "1"
    again = busy.invoke("deploy-canary", "--model-uri", "models:/iris/2")
    assert again.returncode == 4
    assert "`invoke stack-down` then `invoke stack-up`" in again.stderr
    status = busy.invoke("canary-status")
    assert status.returncode == 4
    assert "has ended" in status.stderr
    assert busy.invoke("stack-down").returncode == 0
    up = busy.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
    assert up.returncode == 0, up.stderr


def test_a_dead_envoy_is_seen_in_the_status(served: Place) -> None:
    """Nobody can call without it, whatever stable says: exit 4, which part it is, and what to do."""
    os.kill(served.stack()["envoy"]["process"]["pid"], signal.SIGKILL)  # type: ignore[index]
    wait_for(lambda: len(served.processes()) == 1, "the end of Envoy")
    status = served.invoke("canary-status", "--json")
    assert status.returncode == 4
    assert json.loads(status.stdout)["envoy"] == "does not work"
    assert json.loads(status.stdout)["stable"] == "iris version 1"
    assert "invoke stack-up" in status.stderr


def test_settings_of_the_shell_do_not_change_a_stack(place: Place) -> None:
    """A proxy, other servers' settings and strict warnings of the caller: the stack comes up as ever, and logs."""
    place.environment |= {
        "http_proxy": "http://127.0.0.1:9",
        "PREDICTION_LOG_SAMPLE_RATE": "0",
        "GRPC_TLS_CERT_FILE": "/none.pem",
        "PREDICT_API_TOKEN": "secret",
        "SERVER_WORKERS": "none",
        "MODEL_MIN_ACCURACY": "1",
        "PYTHONWARNINGS": "error",
    }
    up = place.invoke("stack-up", "--model-uri", "models:/iris/1", "--port", "0")
    assert up.returncode == 0, up.stderr
    assert "Traceback" not in up.stderr
    asked = place.invoke("predict", "--row", "5.1,3.5,1.4,0.2")
    assert asked.returncode == 0, asked.stderr
    log = Path(place.stack()["stable"]["log"])  # type: ignore[index]
    wait_for(lambda: "drift-monitoring" in log.read_text(), "the prediction event")


def test_a_number_that_is_no_port_is_refused_at_once(place: Place) -> None:
    """Exit 2 and a sentence; nothing was started."""
    for port in ("70000", "-5"):
        done = place.invoke("stack-up", "--model-uri", "models:/iris/1", f"--port={port}")
        assert done.returncode == 2, done.stderr
        assert "is no port" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (place.home / "logs").exists()
