"""The whole way, with nothing in anybody's place: alias, webhook, relay, deploy-canary, Envoy, champion."""

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.webhook_relay.deployment import State
from rollout.webhook_relay.registration import register
from rollout.webhook_relay.relay import Relay
from tests.rollout.mlflow_server import MlflowServer
from tests.rollout.relay_settings import relay_settings

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = """
alpha = 0.01
deadline_seconds = 120
poll_seconds = 0.2
steps = [{ weight = 50, min_requests = 40, min_seconds = 1, max_seconds = 100 }]
[checks.latency]
tolerance_ratio = 4.0
tolerance_seconds = 0.2
"""


def test_an_alias_becomes_champion_by_a_real_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """Version 1 serves; `challenger` is set to 2; under live traffic 2 is promoted, and nobody ran a command."""
    database = f"sqlite:///{tmp_path}/server.db"
    for name, value in {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": database,
        "MODEL_CACHE_DIR": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    home = str(tmp_path / "home")
    invoke = [sys.executable, "-m", "invoke", "-r", str(ROOT)]

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run(sys.executable, "-m", "training.validate", "--sample")
    for arguments in ([], ["--param", "n_estimators=40"]):
        run(sys.executable, "-m", "training.train", *arguments)
    rows = tmp_path / "data" / "processed" / "iris.csv"
    (tmp_path / "plan.toml").write_text(PLAN)
    with contextlib.ExitStack() as leaving:
        server = MlflowServer(tmp_path)
        leaving.callback(server.stop)
        leaving.callback(run, *invoke, "stack-down", "--home", home)
        run(*invoke, "stack-up", "--model-uri", "models:/iris/1", "--port", "0", "--home", home)
        envoy = json.loads((tmp_path / "home" / "stack.json").read_text())["envoy"]
        address, log = f"127.0.0.1:{envoy['port']}", str(tmp_path / "traffic.jsonl")
        module = [sys.executable, "-m", "rollout.demo.traffic"]
        traffic = subprocess.Popen([*module, "--address", address, "--rows", str(rows), "--log", log])
        leaving.callback(traffic.wait, 20)
        leaving.callback(traffic.terminate)
        settings = relay_settings(
            tmp_path / "state",
            mlflow_tracking_uri=server.url,
            relay_reconcile_seconds=86400.0,
            relay_command=shlex.join([*invoke, "deploy-canary", "--plan", str(tmp_path / "plan.toml")])
            + f" --home {shlex.quote(home)} --model-uri {{model_uri}}",
        )
        relay = Relay(settings, lambda: pytest.fail("a thread of the relay broke"))
        leaving.callback(relay.stop)
        relay.start()
        register(settings, f"http://127.0.0.1:{relay.port}/webhook", "of-the-tests")
        server.set("iris", 2)
        eventually(lambda: relay.inbox.newest(1) != [] and relay.inbox.pending_count() == 0, 150)
        (rolled_out,) = relay.inbox.newest(10)
        assert (rolled_out.state, rolled_out.detail) == (State.DONE, "promoted")
        aliases = server.client.get_registered_model("iris").aliases
        assert (str(aliases["champion"]), str(aliases["previous"])) == ("2", "1")
