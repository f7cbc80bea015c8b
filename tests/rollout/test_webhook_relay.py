"""The relay with a real MLflow server that sends real webhooks to it, and real commands that it starts."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from rollout.errors import UsageError
from rollout.webhook_relay.command import command_for
from rollout.webhook_relay.deployment import Deployment, Source, State, Wanted
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.registration import register
from rollout.webhook_relay.relay import Relay
from tests.rollout.mlflow_server import MlflowServer
from tests.rollout.recording_server import Answer, RecordingServer
from tests.rollout.relay_settings import SECRET, alias_event, delivery, headers, relay_settings

ROOT = Path(__file__).resolve().parents[2]
#: Long enough that polling takes no part in a test that is about events.
NEVER_SECONDS = 86400.0
WEBHOOK = "of-the-tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Eventually = Callable[..., None]

# Writes when it begins and ends; holds while the file beside its marks exists; ends with the code of another one.
COMMAND = """
import pathlib, sys, time
marks, uri = pathlib.Path(sys.argv[1]), sys.argv[2]
def mark(what):
    with marks.open("a") as file:
        file.write(f"{what} {uri}\\n")
mark("begin")
while pathlib.Path(f"{marks}.hold").exists():
    time.sleep(0.01)
mark("end")
code = pathlib.Path(f"{marks}.code")
sys.exit(int(code.read_text()) if code.exists() else 0)
"""


class Command:
    """A deployment command of the test, and what it wrote."""

    def __init__(self, directory: Path) -> None:
        self._marks = directory / "marks"
        self.hold = directory / "marks.hold"
        self.code = directory / "marks.code"
        script = directory / "deploy.py"
        script.write_text(COMMAND)
        self.setting = shlex.join([sys.executable, str(script), str(self._marks)]) + " {model_uri}"

    @property
    def marks(self) -> list[str]:
        return self._marks.read_text().splitlines() if self._marks.exists() else []

    def did(self, *versions: int, name: str) -> bool:
        """Tell whether these versions were rolled out, each once, one after the other, and nothing else."""
        return self.marks == [f"{w} models:/{name}/{v}" for v in versions for w in ("begin", "end")]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for all tests; each has a model of its own."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture
def model(mlflow_server: MlflowServer, request: pytest.FixtureRequest) -> str:
    """A registered model with three versions, named after the test."""
    return mlflow_server.model(request.node.name.partition("[")[0])


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


class Relays:
    """Starts relays in this process, each with a webhook at the server, and ends them all."""

    def __init__(self, server: MlflowServer, directory: Path, model: str, command: Command) -> None:
        self._server, self._directory, self._model, self._command = server, directory, model, command
        self._running: list[Relay] = []

    def start(self, *, webhook: bool = True, **changes: object) -> Relay:
        values = {
            "mlflow_tracking_uri": self._server.url,
            "relay_models": (self._model,),
            "relay_command": self._command.setting,
            "relay_reconcile_seconds": NEVER_SECONDS,
            "relay_retry_seconds": 0.1,
        }
        settings = relay_settings(self._directory / "state", **(values | changes))
        relay = Relay(settings, lambda: pytest.fail("a thread of the relay broke"))
        relay.start()
        self._running.append(relay)
        if webhook:
            register(settings, f"http://127.0.0.1:{relay.port}/webhook", WEBHOOK)
        return relay

    def stop(self, relay: Relay) -> None:
        self._running.remove(relay)
        assert relay.stop()

    def close(self) -> None:
        for relay in self._running:
            assert relay.stop()


@pytest.fixture
def relays(mlflow_server: MlflowServer, tmp_path: Path, model: str, command: Command) -> Iterator[Relays]:
    relays = Relays(mlflow_server, tmp_path, model, command)
    yield relays
    relays.close()


@pytest.fixture(autouse=True)
def _no_webhook_stays(mlflow_server: MlflowServer) -> Iterator[None]:
    yield
    for webhook in mlflow_server.client.list_webhooks():
        mlflow_server.client.delete_webhook(webhook.webhook_id)


def events(relay: Relay, outcome: str) -> float:
    count = relay.metrics.registry.get_sample_value("relay_events_total", {"outcome": outcome})
    assert count is not None
    return count


def idle(relay: Relay) -> bool:
    return relay.inbox.pending_count() == 0


def post(relay: Relay, body: bytes, **changes: object) -> int:
    signed = delivery(body, **changes)  # type: ignore[arg-type]  # what delivery() takes
    url = f"http://127.0.0.1:{relay.port}/webhook"
    return httpx.post(url, content=body, headers=headers(signed)).status_code


def last(relay: Relay) -> Deployment:
    return relay.inbox.newest(1)[0]


def test_setting_the_alias_rolls_out_once(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """One webhook of MLflow, one command; setting the alias again to where it is fires an event and nothing more."""
    relay = relays.start()
    mlflow_server.set(model, 2)
    eventually(lambda: command.did(2, name=model) and idle(relay))
    assert (last(relay).state, last(relay).source) == (State.DONE, Source.WEBHOOK)
    mlflow_server.set(model, 2)
    mlflow_server.set(model, 2)
    mlflow_server.set(model, 1, alias="other")
    eventually(lambda: events(relay, "duplicate") == 2 and events(relay, "ignored") == 1)
    assert events(relay, "accepted") == 1
    mlflow_server.set(model, 3)
    eventually(lambda: command.did(2, 3, name=model))


def test_forged_old_and_replayed_events_trigger_nothing(
    relays: Relays, model: str, command: Command, mlflow_server: MlflowServer, eventually: Eventually
) -> None:
    """Without the secret, after the window, or a second time: refused or without effect."""
    relay = relays.start(webhook=False)
    mlflow_server.set(model, 2)
    body = alias_event(name=model)
    assert post(relay, body, secret="somebody-elses-secret") == 401
    assert post(relay, body, at=1_700_000_000) == 401
    assert command.marks == []
    assert post(relay, body, delivery_id="the-same") == 202
    eventually(lambda: command.did(2, name=model) and idle(relay))
    assert post(relay, body, delivery_id="the-same") == 200
    assert idle(relay)
    assert len(relay.inbox.newest(10)) == 1


def test_a_lost_event_is_no_lost_deployment(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """The relay is down while the alias is set, twice: when it starts it finds the newest, and only that."""
    relays.stop(relays.start())
    mlflow_server.set(model, 2)
    mlflow_server.set(model, 3)
    relay = relays.start()
    eventually(lambda: command.did(3, name=model) and idle(relay))
    assert last(relay).source is Source.POLL


def test_polling_finds_what_no_webhook_told(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """Without any webhook the aliases of all models are looked at again and again; nothing is done twice."""
    relay = relays.start(webhook=False, relay_reconcile_seconds=0.1, relay_models=(), relay_alias="nightly")
    mlflow_server.set(model, 1, alias="nightly")
    eventually(lambda: command.did(1, name=model) and idle(relay))
    before = relay.health()["last_reconcile_at"]
    eventually(lambda: relay.health()["last_reconcile_at"] > before)
    relays.stop(relay)
    again = relays.start(webhook=False, relay_reconcile_seconds=0.1, relay_models=(), relay_alias="nightly")
    eventually(lambda: again.health()["last_reconcile_at"] is not None)
    assert command.did(1, name=model)


def test_versions_that_come_during_a_rollout_wait_and_only_the_newest_follows(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """Never two at once, and what was overtaken is not rolled out."""
    command.hold.touch()
    relay = relays.start()
    mlflow_server.set(model, 1)
    eventually(lambda: len(command.marks) == 1)
    mlflow_server.set(model, 2)
    mlflow_server.set(model, 3)
    eventually(lambda: events(relay, "accepted") == 3)
    command.hold.unlink()
    eventually(lambda: command.did(1, 3, name=model) and idle(relay))
    assert State.SUPERSEDED in {d.state for d in relay.inbox.newest(10) if d.wanted.version == "2"}


def test_a_late_event_does_not_win_over_the_registry(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """MLflow promises no order: an event of version 2 that comes after 3 was rolled out starts nothing."""
    relay = relays.start()
    mlflow_server.set(model, 3)
    eventually(lambda: command.did(3, name=model) and idle(relay))
    assert post(relay, alias_event(name=model, version="2")) == 202
    eventually(lambda: idle(relay))
    assert last(relay).state is State.SUPERSEDED
    assert "names version 3" in last(relay).detail
    assert command.did(3, name=model)
    mlflow_server.client.delete_registered_model_alias(model, "challenger")
    assert post(relay, alias_event(name=model, version="2")) == 202
    eventually(lambda: idle(relay))
    assert "is gone" in last(relay).detail


def test_the_champion_is_not_rolled_out(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """A challenger that is champion already has nothing to win."""
    mlflow_server.set(model, 2, alias="champion")
    relay = relays.start()
    mlflow_server.set(model, 2)
    eventually(lambda: events(relay, "accepted") == 1 and idle(relay))
    assert (last(relay).state, last(relay).detail) == (State.DONE, "it is champion already")
    assert command.marks == []


def test_failures_are_tried_again_and_then_given_up(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """Infrastructure errors get as many attempts as the setting says; `retry` begins anew."""
    command.code.write_text("4")
    relay = relays.start(relay_max_attempts=3)
    mlflow_server.set(model, 2)
    eventually(lambda: idle(relay) and relay.inbox.newest(1) != [])
    assert (last(relay).state, last(relay).attempts) == (State.FAILED, 3)
    assert command.did(2, 2, 2, name=model)
    command.code.write_text("0")
    relay.inbox.retry(model)
    eventually(lambda: last(relay).state is State.DONE)
    assert command.did(2, 2, 2, 2, name=model)


def test_a_verdict_is_final(
    relays: Relays, mlflow_server: MlflowServer, model: str, command: Command, eventually: Eventually
) -> None:
    """A version that the judge refused is not rolled out again, however often the alias is set."""
    command.code.write_text("1")
    relay = relays.start(relay_reconcile_seconds=0.1)
    mlflow_server.set(model, 2)
    eventually(lambda: relay.inbox.newest(1) != [] and idle(relay))
    mlflow_server.set(model, 2)
    before = relay.health()["last_reconcile_at"]
    eventually(lambda: relay.health()["last_reconcile_at"] > before and events(relay, "duplicate") >= 1)
    assert last(relay).state is State.DECLINED
    assert command.did(2, name=model)


def test_a_registry_that_is_down_is_waited_for(
    relays: Relays, model: str, command: Command, eventually: Eventually
) -> None:
    """Events are taken and kept; health says what is wrong, and no attempt is spent."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        relay = relays.start(webhook=False, mlflow_tracking_uri=address)
        assert post(relay, alias_event(name=model)) == 202
        eventually(lambda: last(relay).detail != "")
        eventually(lambda: relay.health()["status"] == "degraded")
    assert (last(relay).state, last(relay).attempts) == (State.PENDING, 0)
    assert address in relay.health()["registry_problem"]
    assert command.marks == []


def test_github_is_asked_until_it_takes_the_dispatch(
    relays: Relays, mlflow_server: MlflowServer, model: str, eventually: Eventually
) -> None:
    """From MLflow's webhook to GitHub's API (a server that stands in for it): limits and failures are waited out."""
    github = RecordingServer([Answer(429, {"retry-after": "1"}), Answer(502), Answer(204)])
    relay = relays.start(
        relay_trigger="github",
        relay_github_repository="acme/models",
        relay_github_api_url=github.url,
        relay_github_token="a-token-of-the-tests",
    )
    mlflow_server.set(model, 2)
    eventually(lambda: relay.inbox.newest(1) != [] and idle(relay))
    github.stop()
    payloads = [asked.content["client_payload"]["model_uri"] for asked in github.asked]
    assert payloads == [f"models:/{model}/2"] * 3
    assert last(relay).state is State.DONE
    retried = relay.metrics.registry.get_sample_value("relay_triggers_total", {"outcome": "retried"})
    assert retried == 2


def test_two_relays_do_not_share_a_state(relays: Relays) -> None:
    """A second relay with the same directory refuses to start."""
    relays.start(webhook=False)
    with pytest.raises(UsageError, match="another relay works in"):
        relays.start(webhook=False)


def test_registering_twice_leaves_one_webhook(
    mlflow_server: MlflowServer, relays: Relays, tmp_path: Path
) -> None:
    """The second time changes address and secret of the one that is there; a wrong address is a sentence."""
    settings = relay_settings(tmp_path, mlflow_tracking_uri=mlflow_server.url)
    assert "was made" in register(settings, "http://127.0.0.1:1/webhook", "twice")
    assert "was there" in register(settings, "http://127.0.0.1:2/webhook", "twice")
    (webhook,) = mlflow_server.client.list_webhooks()
    assert (webhook.name, webhook.url) == ("twice", "http://127.0.0.1:2/webhook")
    for url in (
        "127.0.0.1/webhook",
        "ftp://host/webhook",
        "http://user:password@host/webhook",
        "http://host",
    ):
        with pytest.raises(UsageError, match="is no address of a relay"):
            register(settings, url, "twice")
    with pytest.raises(UsageError, match="refuses the webhook"):
        register(settings, "http://host/webhook", "no name for it!")


class Process:
    """`python -m rollout.webhook_relay` as an operator starts it."""

    def __init__(self, directory: Path, registry: str, model: str, command: Command) -> None:
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "300",
            "MLFLOW_TRACKING_URI": registry,
            "RELAY_SECRET": SECRET,
            "RELAY_HOST": "127.0.0.1",
            "RELAY_PORT": "0",
            "RELAY_STATE_DIR": str(directory / "state"),
            "RELAY_MODELS": model,
            "RELAY_COMMAND": command.setting,
            "RELAY_RECONCILE_SECONDS": str(NEVER_SECONDS),
        }
        self._process = subprocess.Popen(
            self._command(), env=self.environment, cwd=directory, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.lines: list[dict[str, object]] = []
        for line in self._process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["message"] == "listening":
                break
        self.port = int(str(self.lines[-1]["http_port"]))

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(*arguments), env=self.environment, capture_output=True, text=True, check=False
        )

    def end(self, number: signal.Signals) -> int:
        """Send a signal, if it still runs, and return the exit code."""
        self._process.send_signal(number)
        code = self._process.wait(30)
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            self.lines += [json.loads(line) for line in self._process.stdout]
            self._process.stdout.close()
        return code

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rollout.webhook_relay", *arguments]


Start = Callable[[str, str], Process]


@pytest.fixture
def start(tmp_path: Path, command: Command) -> Iterator[Start]:
    """Start relays as processes, for a registry and a model; none is left at the end."""
    started: list[Process] = []

    def begin(registry: str, model: str) -> Process:
        started.append(Process(tmp_path, registry, model, command))
        return started[-1]

    yield begin
    for process in started:
        process.end(signal.SIGKILL)


def newest(directory: Path) -> Deployment:
    with contextlib.closing(Inbox.existing(directory / "state")) as inbox:
        return inbox.newest(1)[0]


def test_kill_9_between_receipt_and_trigger_acts_once_after_the_restart(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    model: str,
    command: Command,
    eventually: Eventually,
    start: Start,
) -> None:
    """MLflow was told 202; the relay is killed before it could act; the next one acts, once."""
    with (
        socket.socket() as silent
    ):  # a registry that accepts and never answers holds the worker before the trigger
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        first = start(f"http://127.0.0.1:{silent.getsockname()[1]}", model)
        settings = relay_settings(tmp_path / "state", mlflow_tracking_uri=mlflow_server.url)
        register(settings, f"http://127.0.0.1:{first.port}/webhook", WEBHOOK)
        mlflow_server.set(model, 2)
        eventually(lambda: "relay_pending 1.0" in httpx.get(f"http://127.0.0.1:{first.port}/metrics").text)
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert command.marks == []
    second = start(mlflow_server.url, model)
    eventually(lambda: command.did(2, name=model))
    eventually(lambda: newest(tmp_path).state is State.DONE)
    assert newest(tmp_path).source is Source.WEBHOOK
    assert second.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_rollout_outlives_its_relay_and_is_not_begun_twice(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    command: Command,
    eventually: Eventually,
    start: Start,
    number: signal.Signals,
) -> None:
    """The relay goes in the middle of a rollout: the next one waits for its end and writes down its verdict."""
    model = mlflow_server.model(f"outlives-{number}")
    command.hold.touch()
    command.code.write_text("1")
    mlflow_server.set(model, 2)
    first = start(mlflow_server.url, model)
    eventually(lambda: len(command.marks) == 1)
    assert first.end(number) == (0 if number is signal.SIGTERM else -number)
    second = start(mlflow_server.url, model)
    status = json.loads(second.run("status", "--json").stdout)
    assert (status["pending"], status["deployments"][0]["state"]) == (1, "running")
    command.hold.unlink()
    eventually(lambda: newest(tmp_path).state is State.DECLINED)
    assert command.did(2, name=model)
    assert newest(tmp_path).attempts == 1
    assert second.end(signal.SIGTERM) == 0
    assert second.lines[-1]["message"] == "stopped"


def test_what_died_with_its_relay_is_run_again(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    model: str,
    command: Command,
    eventually: Eventually,
    start: Start,
) -> None:
    """The container goes, and the command with it: the next relay runs it again, as the second attempt."""
    command.hold.touch()
    mlflow_server.set(model, 2)
    first = start(mlflow_server.url, model)
    eventually(lambda: len(command.marks) == 1)
    family = psutil.Process(first.pid).children(recursive=True)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, 20)
    command.hold.unlink()
    start(mlflow_server.url, model)
    eventually(lambda: newest(tmp_path).state is State.DONE)
    assert newest(tmp_path).attempts == 2
    assert command.marks == [f"{what} models:/{model}/2" for what in ("begin", "begin", "end")]


def test_without_a_stack_the_real_command_says_so(
    mlflow_server: MlflowServer, relays: Relays, model: str, tmp_path: Path, eventually: Eventually
) -> None:
    """The default command is `invoke deploy-canary`; what it refuses is in the status."""
    home = shlex.quote(str(tmp_path / "home"))
    real = shlex.join(command_for(Wanted(model, "challenger", "2"), None)).replace(
        f"/{model}/2", "/{name}/{version}"
    )
    relay = relays.start(relay_command=f"{real} --home {home}", relay_max_attempts=1)
    mlflow_server.set(model, 2)
    eventually(lambda: relay.inbox.newest(1) != [] and idle(relay))
    assert last(relay).state is State.FAILED
    assert "error: no stack runs in" in last(relay).detail


def test_the_commands_of_an_operator(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    model: str,
    command: Command,
    eventually: Eventually,
    start: Start,
) -> None:
    """`register`, `status` and `retry` do what they say, beside a relay that runs; no line has the secret."""
    relay = start(mlflow_server.url, model)
    url = f"http://127.0.0.1:{relay.port}/webhook"
    registered = relay.run("register", "--url", url)
    assert registered.returncode == 0, registered.stderr
    assert "coalmine-relay was made" in registered.stdout
    mlflow_server.set(model, 2)
    eventually(lambda: command.did(2, name=model))
    eventually(lambda: newest(tmp_path).state is State.DONE)
    status = relay.run("status")
    row = status.stdout.splitlines()[-1].split()
    assert row[1:6] == [f"models:/{model}/2", "challenger", "webhook", "done", "1"]
    retried = relay.run("retry", model)
    assert retried.returncode == 0
    eventually(lambda: command.did(2, 2, name=model))
    missing = relay.run("retry", "nobody")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "never acted on a model 'nobody'" in missing.stderr
    assert relay.end(signal.SIGTERM) == 0
    assert SECRET not in json.dumps(relay.lines) + registered.stdout + status.stdout


def test_a_want_of_a_model_that_is_gone_ends(relays: Relays, eventually: Eventually) -> None:
    """A model that was deleted after its event is no reason to wait."""
    relay = relays.start(webhook=False)
    relay.inbox.want(Wanted("gone", "challenger", "1"), Source.POLL)
    eventually(lambda: idle(relay))
    assert last(relay).state is State.SUPERSEDED
