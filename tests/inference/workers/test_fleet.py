"""Several processes on one port, as whole servers: they answer, change and end as one."""

import json
import os
import signal
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import grpc
import psutil
import pytest

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

pytestmark = pytest.mark.slow

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
CHANGES = 6


def _lead_to(link: Path, bundle: Path) -> None:
    fresh = link.with_suffix(".new")
    fresh.symlink_to(bundle)
    os.replace(fresh, link)


def test_both_workers_answer_on_one_port_and_are_counted_as_one(make_fleet: object) -> None:
    """The kernel spreads connections over the workers, each on a core; /metrics has the sum of all calls."""
    fleet = make_fleet()
    with ExitStack() as stack:
        for _ in range(24):  # that all go to one worker happens once in 2^23
            stub = InferenceServiceStub(stack.enter_context(fleet.channel()))
            for _ in range(5):
                stub.Predict(REQUEST, timeout=10)
        assert all(fleet.connections())
        assert sum(fleet.connections()) == 24
    assert fleet.answered() == 24 * 5
    workers = fleet.workers()
    assert [worker["state"] for worker in workers] == ["serving", "serving"]
    assert [worker["generation"] for worker in workers] == [1, 1]
    cores = sorted(os.sched_getaffinity(0))
    assert [worker["core"] for worker in workers] == [cores[0], cores[1 % len(cores)]]
    predictions = {key: value for key, value in fleet.counters().items() if key[0] == "ml_predictions_total"}
    assert sum(predictions.values()) == 24 * 5


@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 1), (1, 2)])
def test_a_second_server_on_the_port_fails(make_process: object, first: int, second: int) -> None:
    """The workers of one server share the port with each other and with nobody else."""
    port = make_process(SERVER_WORKERS=first).wait_for("listening")["grpc_port"]
    late = make_process(SERVER_WORKERS=second, GRPC_PORT=port)
    assert late.end() == 2
    (line,) = [json.loads(line) for line in late.lines]
    assert f"port {port} on 127.0.0.1 is in use by another process" in line["message"]


def test_swaps_under_load_fail_no_call_and_never_go_back(
    make_fleet: object, make_load: object, make_bundle: object, tmp_path: Path
) -> None:
    """Every worker switches; on no connection does an older model answer after a newer one."""
    link = tmp_path / "model"
    models = [make_bundle(seed=1), make_bundle(seed=2)]
    _lead_to(link, models[0])
    fleet = make_fleet(MODEL_PATH=link, PREDICTION_LOG_SAMPLE_RATE="0.01")
    digests = [fleet.get("/health").json()["model"]["digest"]]
    with make_load(fleet) as load:
        for change in range(CHANGES):
            _lead_to(link, models[(change + 1) % 2])
            reply = fleet.post("/admin/reload").json()
            assert reply["outcome"] == "swapped"
            digests.append(reply["model"]["digest"])
            assert [worker["generation"] for worker in fleet.workers()] == [change + 2] * 2
            with fleet.channel() as channel:
                assert InferenceServiceStub(channel).Predict(REQUEST).model_digest == digests[-1]
    assert load.errors == []
    for caller in load.callers:
        assert [digest for digest, _ in groupby(caller.answers)] == digests
    assert fleet.answered() == load.answered + CHANGES


def test_a_model_that_one_worker_cannot_load_serves_nowhere(
    make_fleet: object, make_load: object, make_bundle: object, tmp_path: Path
) -> None:
    """One worker that cannot open files refuses the model for all; the old one serves on, and is not lost."""
    link = tmp_path / "model"
    _lead_to(link, make_bundle(seed=1))
    fleet = make_fleet(MODEL_PATH=link)
    pids = fleet.pids()
    with make_load(fleet, 4) as load:
        before = fleet.get("/health").json()["model"]["digest"]
        _lead_to(link, make_bundle(seed=2))
        psutil.Process(pids[1]).rlimit(psutil.RLIMIT_NOFILE, (4, 4096))
        reply = fleet.post("/admin/reload")
        assert reply.status_code == 422
        assert "is refused: worker 1: " in reply.json()["error"]["message"]
        psutil.Process(pids[1]).rlimit(psutil.RLIMIT_NOFILE, (4096, 4096))
        health = fleet.get("/health").json()
        assert health["model"]["digest"] == before
        assert [worker["generation"] for worker in health["workers"]] == [1, 1]
        assert [worker["pid"] for worker in health["workers"]] == pids
        assert {caller.answers[-1] for caller in load.callers} == {before}
        assert fleet.post("/admin/reload").json()["outcome"] == "swapped"
    assert load.errors == []


def test_a_worker_that_hangs_is_replaced_and_holds_up_nothing(
    make_fleet: object, make_bundle: object, tmp_path: Path
) -> None:
    """Scrapes do without it; a change of the model waits for it, fails, ends it, and the next one succeeds."""
    link = tmp_path / "model"
    _lead_to(link, make_bundle(seed=1))
    fleet = make_fleet(MODEL_PATH=link, MODEL_TRIAL_SECONDS=4)
    pids = fleet.pids()
    os.kill(pids[0], signal.SIGSTOP)
    assert fleet.get("/metrics").status_code == 200
    _lead_to(link, make_bundle(seed=2))
    answer = fleet.post("/admin/reload")
    assert answer.status_code == 503, "the model is not to blame"
    assert "worker 0" in answer.text
    fleet.until(lambda: fleet.workers()[0]["restarts"] == 1)
    fleet.until(lambda: fleet.workers()[0]["state"] == "serving")
    assert "did not answer" in fleet.workers()[0]["last_error"]
    assert fleet.post("/admin/reload").json()["outcome"] == "swapped"
    assert [worker["generation"] for worker in fleet.workers()] == [2, 2]
    assert pids[1] in fleet.pids()


def test_a_killed_worker_is_replaced_while_the_other_serves(make_fleet: object, make_load: object) -> None:
    """Only callers on its connections see failures, with UNAVAILABLE; readiness stays, no counter goes back."""
    fleet = make_fleet(PREDICTION_LOG_SAMPLE_RATE="0.1")
    killed = fleet.pids()[0]
    counters = fleet.counters()
    with make_load(fleet) as load:
        on_it = fleet.connections()[0]
        os.kill(killed, signal.SIGKILL)
        while True:
            assert fleet.get("/health/ready").status_code == 200
            now = fleet.counters()
            assert {key for key, value in counters.items() if now[key] < value} == set()
            counters = now
            worker = fleet.workers()[0]
            if worker["restarts"] == 1 and worker["state"] == "serving":
                break
        assert worker["pid"] != killed
        assert worker["last_error"] == "it was ended by signal 9"
    assert set(load.errors) <= {grpc.StatusCode.UNAVAILABLE}
    failures = [len(caller.errors) for caller in load.callers]
    assert sum(map(bool, failures)) <= on_it
    # A caller may meet the socket of the dead process a few times before it is gone; one that waited out a backoff of
    # its channel would have met hundreds of failures.
    assert max(failures) <= 10
    assert fleet.counters()["ml_worker_restarts_total", (("worker", "0"),)] == 1


def test_a_replaced_worker_has_the_models_of_the_others(
    make_fleet: object, make_bundle: object, tmp_path: Path
) -> None:
    """It comes back with the version that serves and the one before it, so a rollback reaches it too."""
    link = tmp_path / "model"
    _lead_to(link, make_bundle(seed=1))
    fleet = make_fleet(MODEL_PATH=link)
    first = fleet.get("/health").json()["model"]["digest"]
    _lead_to(link, make_bundle(seed=2))
    assert fleet.post("/admin/reload").json()["outcome"] == "swapped"
    for pid in fleet.pids():
        os.kill(pid, signal.SIGKILL)
    fleet.until(lambda: [w["restarts"] for w in fleet.workers()] == [1, 1])
    fleet.until(lambda: [w["state"] for w in fleet.workers()] == ["serving", "serving"])
    assert [worker["generation"] for worker in fleet.workers()] == [2, 2]
    assert fleet.post("/admin/rollback").json()["model"]["digest"] == first
    assert [worker["generation"] for worker in fleet.workers()] == [3, 3]
    for _ in range(8):
        with fleet.channel() as channel:
            assert InferenceServiceStub(channel).Predict(REQUEST).model_digest == first
    assert all(worker["restarts"] == 1 for worker in fleet.workers())


def test_sigterm_drains_all(make_fleet: object, make_load: object) -> None:
    """No call fails while the server drains; then it ends with 0 and its workers are gone."""
    fleet = make_fleet(DRAIN_DELAY_SECONDS=1)
    fleet.pids()
    with make_load(fleet, 4) as load:
        fleet.process.popen.send_signal(signal.SIGTERM)
        fleet.process.wait_for("draining")
        fleet.until(lambda: fleet.get("/health/ready").status_code == 503)
        answered = load.answered
        fleet.until(lambda: load.answered > answered)
        assert load.errors == []
    assert fleet.process.end() == 0
    last = json.loads(fleet.process.lines[-1])
    assert (last["message"], last["level"]) == ("stopped", "INFO")


def test_workers_die_with_their_supervisor(make_fleet: object) -> None:
    """A supervisor that is killed leaves no process, and its port is free at once."""
    fleet = make_fleet()
    fleet.pids()
    fleet.process.popen.kill()
    fleet.process.end()
    _, alive = psutil.wait_procs(fleet.seen, timeout=5)
    assert not alive
    make_fleet(GRPC_PORT=fleet.grpc_port)


def test_a_second_signal_ends_everything_at_once(make_fleet: object) -> None:
    """Who does not want to wait for the drain sends the signal again; the workers go as well."""
    fleet = make_fleet(DRAIN_DELAY_SECONDS=60)
    fleet.pids()
    fleet.process.popen.send_signal(signal.SIGINT)
    fleet.process.wait_for("draining")
    fleet.process.popen.send_signal(signal.SIGTERM)
    assert fleet.process.end(5) == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(fleet.seen, timeout=5)
    assert not alive


def test_signals_to_the_whole_group_mean_the_supervisor(make_fleet: object) -> None:
    """Workers ignore the signals that some service managers send to every process."""
    fleet = make_fleet()
    pids = fleet.pids()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    with fleet.channel() as channel:
        InferenceServiceStub(channel).Predict(REQUEST)
    assert fleet.pids() == pids


def test_lines_of_several_processes_never_mix(make_fleet: object, make_load: object) -> None:
    """Every line is one JSON object, and every answered call left one event."""
    fleet = make_fleet()
    fleet.pids()
    with make_load(fleet) as load:
        fleet.until(lambda: load.answered > 2000)
    fleet.process.popen.send_signal(signal.SIGTERM)
    assert fleet.process.end() == 0
    lines = [json.loads(line) for line in fleet.process.lines]
    events = [line for line in lines if line["logger"] == "drift-monitoring"]
    assert len(events) == load.answered
    loaded = [line.get("worker") for line in lines if line["message"] == "model loaded"]
    assert sorted(loaded, key=str) == [0, 1, None]


def test_a_bundle_that_no_worker_can_reach_ends_the_start(make_process: object, tmp_path: Path) -> None:
    """A server that cannot load its first model ends as one without workers does, and leaves none."""
    process = make_process(SERVER_WORKERS=2, MODEL_PATH=tmp_path / "nothing")
    process.wait_for("listening")
    children = psutil.Process(process.popen.pid).children()
    assert len(children) == 2
    assert process.end() == 1
    assert not psutil.wait_procs(children, timeout=5)[1]
