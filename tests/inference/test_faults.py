"""What goes wrong around a real process: bad bundles, bad registries, bad disks, bad readers, bad clocks.

What each fault is called is tested where it is noticed (`tests/inference/artifacts`); here, how the process takes it.
"""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from inference.client import PredictionClient
from protos.inference.v1 import manifest_pb2 as pb
from tests.inference.artifacts.bundle_kit import seal, write_bundle
from tests.inference.artifacts.faulty_server import FaultyServer
from tests.inference.small_disks import small_disk_at

ROW = [5.1, 3.5, 1.4, 0.2]
ADMIN = {"X-Admin-Token": "t"}


def _errors(process: object) -> list[dict[str, Any]]:
    """The lines that say ERROR; every line is one JSON object."""
    return [line for line in map(json.loads, process.lines) if line["level"] == "ERROR"]


def _truncate(bundle: Path) -> None:
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])


def _corrupt(bundle: Path) -> None:
    model = bundle / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 0xFF
    model.write_bytes(content)


def _reseal(bundle: Path, change: Callable[[pb.ModelManifest], object] = bool) -> None:
    manifest = json_format.Parse((bundle / "manifest.json").read_text(), pb.ModelManifest())
    change(manifest)
    seal(bundle, manifest)


def _sealed_garbage(bundle: Path) -> None:
    _truncate(bundle)
    _reseal(bundle)


def _unknown_operator(bundle: Path) -> None:
    rows = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 4])
    shares = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])
    node = helper.make_node("Divine", ["input"], ["probabilities"], domain="org.example")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", [rows], [shares]), opset_imports=opsets, ir_version=10
    )
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    _reseal(bundle)


def _without_accuracy(bundle: Path) -> None:
    metrics = json_format.Parse((bundle / "metrics.json").read_text(), pb.ModelMetrics())
    metrics.ClearField("accuracy")
    (bundle / "metrics.json").write_text(json_format.MessageToJson(metrics, preserving_proto_field_name=True))
    _reseal(bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_truncate, "model.onnx"),
        (_corrupt, "model.onnx"),
        (_sealed_garbage, "model.onnx"),
        (_unknown_operator, "org.example"),
        (_without_accuracy, "accuracy is missing from its metrics.json"),
    ],
)
def test_a_bad_bundle_ends_the_start(
    make_process: object, bundle: Path, tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    """A bundle that must not serve is one ERROR line that says why, and exit code 1."""
    bad = Path(shutil.copytree(bundle, tmp_path / "bad"))
    spoil(bad)
    process = make_process(MODEL_PATH=bad, MODEL_MIN_ACCURACY=0.5)
    assert process.end(60) == 1
    (error,) = _errors(process)
    assert sentence in error["message"]


@pytest.mark.slow
def test_a_model_of_a_newer_library(make_process: object, tmp_path: Path) -> None:
    """A scikit-learn model of a newer version than the server's is refused with both versions."""
    rows, target = load_iris(return_X_y=True)
    bad = write_bundle(tmp_path / "bad", RandomForestClassifier(3).fit(rows, target), rows[::30], onnx=False)
    _reseal(bad, lambda manifest: manifest.lineage.library_versions.update({"scikit-learn": "99.0"}))
    process = make_process(MODEL_PATH=bad)
    assert process.end(60) == 1
    (error,) = _errors(process)
    assert "trained with scikit-learn 99.0" in error["message"]


@pytest.fixture
def registry(bundle: Path) -> Iterator[FaultyServer]:
    """A registry that works, until a test says otherwise."""
    server = FaultyServer()
    server.serve(bundle)
    yield server
    server.close()


@pytest.fixture
def serve(make_process: object, registry: FaultyServer, tmp_path: Path) -> Callable[..., Any]:
    """Start a process that reads the registry."""

    def serve(**variables: object) -> object:
        return make_process(
            **{
                "MODEL_SOURCE": "mlflow",
                "MLFLOW_TRACKING_URI": registry.address,
                "MODEL_CACHE_DIR": tmp_path / "cache",
                "ADMIN_API_TOKEN": "t",
                **variables,
            }
        )

    return serve


class Ports:
    """Clients of a process that serves."""

    def __init__(self, process: Any) -> None:  # noqa: ANN401  # of conftest, which nobody can import
        ports = process.wait_for("listening")
        process.wait_for("serving", 60)
        self.grpc_address = f"127.0.0.1:{ports['grpc_port']}"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{ports['http_port']}", timeout=60)

    def __enter__(self) -> "Ports":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def predict(self) -> str:
        """Return the version that answers over gRPC."""
        with PredictionClient(self.grpc_address) as client:
            return client.predict([ROW]).model_version

    def health(self) -> dict[str, Any]:
        """What /health says."""
        return dict(self.http.get("/health").json())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "exit_code", "sentence"),
    [(401, 2, "MLFLOW_TRACKING_TOKEN"), (404, 4, "is it an MLflow server"), (500, 4, "answered 500")],
)
def test_a_bad_registry_at_start(
    serve: Callable[..., Any], registry: FaultyServer, status: int, exit_code: int, sentence: str
) -> None:
    """Without a model in the cache each bad answer is one ERROR line and its exit code."""
    registry.answer = lambda _path: (status, b"<html>no</html>")
    process = serve()
    assert process.end(60) == exit_code
    (error,) = _errors(process)
    assert sentence in error["message"]


@pytest.mark.slow
def test_a_digest_that_differs(serve: Callable[..., Any], registry: FaultyServer, bundle: Path) -> None:
    """A bundle other than the one that was registered is refused, with exit code 1."""
    registry.serve(bundle, digest="0" * 64)
    process = serve()
    assert process.end(60) == 1
    (error,) = _errors(process)
    assert "digest" in error["message"]


@pytest.mark.slow
def test_a_bad_registry_later(serve: Callable[..., Any], registry: FaultyServer, bundle: Path) -> None:
    """Whatever the registry does later, the model serves on; /health says since when it fails, until it does not."""
    with Ports(serve(MODEL_AUTO_REFRESH_SECONDS=0.2)) as ports:
        assert ports.health()["registry"]["failing_since"] is None
        since = None
        for status, body, sentence in (
            (401, b"no", "MLFLOW_TRACKING_TOKEN"),
            (404, b"<html>", "is it an MLflow server"),
            (500, b"oh dear", "answered 500"),
        ):
            registry.answer = lambda _path, status=status, body=body: (status, body)
            _wait(lambda sentence=sentence: sentence in ports.health()["registry"]["last_error"])
            registered = ports.health()["registry"]
            assert since in (None, registered["failing_since"])
            since = registered["failing_since"]
            assert since is not None
            assert ports.predict() == "1"
            assert ports.http.get("/health/ready").status_code == 200
        registry.serve(bundle, version="2")
        _wait(lambda: ports.predict() == "2")
        assert ports.health()["registry"]["failing_since"] is None


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_registry_that_hangs_later(serve: Callable[..., Any], registry: FaultyServer) -> None:
    """While a reload waits for a silent registry everything is answered at once; a slow one is waited for."""
    asked, go_on = threading.Event(), threading.Event()
    sound = registry.answer

    def hang(path: str) -> tuple[int, bytes]:
        asked.set()
        go_on.wait(30)
        return sound(path)

    with Ports(serve()) as ports:
        registry.answer = hang
        outcome: list[str] = []

        def reload() -> None:
            outcome.append(ports.http.post("/admin/reload", headers=ADMIN).json()["outcome"])

        reloading = threading.Thread(target=reload)
        reloading.start()
        assert asked.wait(20)
        started = time.monotonic()
        assert ports.predict() == "1"
        assert ports.health()["status"] == "ready"
        assert time.monotonic() - started < 2
        assert not outcome
        go_on.set()
        reloading.join(30)
        assert outcome == ["unchanged"]


@pytest.mark.slow
def test_tokens_that_are_missing_or_wrong(serve: Callable[..., Any]) -> None:
    """Nobody changes the model or asks for predictions without the token, and nothing else changes by trying."""
    with Ports(serve(PREDICT_API_TOKEN="p")) as ports:
        for headers, status in (({}, 401), ({"X-Admin-Token": "p"}, 401), (ADMIN, 200)):
            assert ports.http.post("/admin/reload", headers=headers).status_code == status
        body = {"rows": [ROW]}
        for bearer, status in (("", 401), ("t", 401), ("p", 200)):
            headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
            assert ports.http.post("/predict", json=body, headers=headers).status_code == status
        assert ports.health()["model"]["generation"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("options", ["size=4k", "ro,size=1m"])
def test_a_cache_that_cannot_be_written(serve: Callable[..., Any], tmp_path: Path, options: str) -> None:
    """A full or read-only cache at start is one ERROR line that names MODEL_CACHE_DIR, and exit code 4."""
    with small_disk_at(tmp_path / "disk", options):
        process = serve(MODEL_CACHE_DIR=tmp_path / "disk")
        assert process.end(60) == 4
        (error,) = _errors(process)
        assert "MODEL_CACHE_DIR" in error["message"]


@pytest.mark.slow
def test_a_cache_that_fills_up(
    serve: Callable[..., Any], registry: FaultyServer, bundle: Path, make_bundle: object, tmp_path: Path
) -> None:
    """When the disk is full later a reload fails with 503 or 500 and a sentence; the model serves on."""
    with (
        small_disk_at(tmp_path / "disk", "size=1m"),
        Ports(serve(MODEL_CACHE_DIR=tmp_path / "disk")) as ports,
    ):
        filler = tmp_path / "disk" / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        registry.serve(make_bundle(seed=1), version="2")
        refused = ports.http.post("/admin/reload", headers=ADMIN)
        assert refused.status_code in (500, 503)
        assert "MODEL_CACHE_DIR" in refused.json()["error"]["message"]
        assert ports.predict() == "1"
        filler.unlink()
        assert ports.http.post("/admin/reload", headers=ADMIN).json()["outcome"] == "swapped"
        assert ports.predict() == "2"


@pytest.mark.slow
def test_a_kill_and_a_registry_that_is_gone(serve: Callable[..., Any], registry: FaultyServer) -> None:
    """After SIGKILL the next start serves the cached model although the registry is down, and says so."""
    first = serve()
    with Ports(first) as ports:
        digest = ports.health()["model"]["digest"]
    first.popen.send_signal(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    registry.answer = lambda _path: (500, b"down")
    with Ports(serve()) as ports:
        assert ports.predict() == "1"
        health = ports.health()
    assert health["model"]["digest"] == digest
    assert "answered 500" in health["registry"]["stale_reason"]
    assert health["registry"]["failing_since"] is not None


@pytest.mark.slow
def test_a_reader_that_hangs(make_process: object) -> None:
    """With a full pipe the server answers on, over both protocols; events beyond the queue are dropped and counted."""
    process = make_process()
    with Ports(process) as ports:
        stopped = _stop_reading(process)
        with PredictionClient(ports.grpc_address) as client:
            rows = np.random.default_rng(0).uniform(0, 8, (65_536, 4))
            _wait(lambda: bool(client.predict(rows)) and _dropped(ports) > 0)
            assert client.predict([ROW]).labels
        assert ports.http.post("/predict", json={"rows": [ROW]}).status_code == 200
        stopped.set()


def _dropped(ports: Ports) -> float:
    name = 'ml_prediction_events_total{outcome="dropped"} '
    metrics = ports.http.get("/metrics").text.splitlines()
    return next(float(line.removeprefix(name)) for line in metrics if line.startswith(name))


def _stop_reading(process: Any) -> threading.Event:  # noqa: ANN401  # of conftest
    """Have the thread that reads standard output wait at the next line, until the event is set."""
    go_on = threading.Event()

    class Waiting(list[bytes]):
        def append(self, line: bytes) -> None:
            go_on.wait(60)
            super().append(line)

    process.lines = Waiting(process.lines)
    return go_on


#: Adds what the file of JUMP_FILE says, in seconds, to the time of day, and leaves every other clock alone. Debian's
#: faketime cannot: with its monotonic clock left alone, sleeps of Python 3.11 fail.
CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static time_t jump(void) {
    char text[32] = {0};
    int file = open(getenv("JUMP_FILE"), O_RDONLY);
    if (file >= 0) { if (read(file, text, 31) < 0) text[0] = 0; close(file); }
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return done;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""
DAYS_400 = 400 * 86400


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets the time of day jump."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    directory = tmp_path_factory.mktemp("clock")
    (directory / "clock.c").write_text(CLOCK)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", directory / "clock.so", directory / "clock.c"]
    subprocess.run(command, check=True)
    return directory / "clock.so"


@pytest.mark.slow
@pytest.mark.parametrize("jump_seconds", [DAYS_400, -DAYS_400])
def test_the_clock_jumps(make_process: object, clock: Path, tmp_path: Path, jump_seconds: int) -> None:
    """A time of day that jumps changes no deadline, limit or state: what is waited for is on a clock that does not."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    process = make_process(LD_PRELOAD=clock, JUMP_FILE=offset, PREDICT_API_TOKEN="p", DRAIN_DELAY_SECONDS=1)
    with Ports(process) as ports:
        body, right = {"rows": [ROW]}, {"Authorization": "Bearer p"}
        for _ in range(10):
            assert ports.http.post("/predict", json=body).status_code == 401
        before = ports.health()
        offset.write_text(str(jump_seconds))
        with PredictionClient(ports.grpc_address, token="p") as client:
            assert client.predict([ROW], deadline_seconds=5).labels
        limited = ports.http.post("/predict", json=body)
        assert limited.status_code == 429
        assert ports.http.post("/predict", json=body, headers=right).status_code == 200
        assert 0 < int(limited.headers["retry-after"]) <= 60
        assert 0 <= ports.health()["uptime_seconds"] - before["uptime_seconds"] < 30
        assert ports.http.get("/health/ready").status_code == 200
        signalled = time.monotonic()
        process.popen.terminate()
        assert process.end() == 0
        assert 1 <= time.monotonic() - signalled < 10
    days = {line["timestamp"][:4] for line in map(json.loads, process.lines)}
    assert len(days) > 1, "the clock did not jump"
