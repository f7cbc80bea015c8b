"""Real bundles, and a real server in this process, for the tests of the request side."""

import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from inference.lines import LineWriter
from inference.service import Service
from inference.settings import Settings
from protos.inference.v1 import manifest_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.inference.mixed_models import write_mixed_bundle
from tests.inference.model_registry import ModelRegistry
from tests.inference.server_process import cache_dir, server_environment

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CLASSES = ("setosa", "versicolor", "virginica")

ROOT = Path(__file__).parents[2]

#: What carries gRPC in these tests; `nox -s tests_native` sets `native`.
TRANSPORT = os.environ.get("COALMINE_TEST_TRANSPORT", "grpcio")

#: What `native` does not have, by test or file below this directory, and why; everything else holds for both.
NOT_ON_NATIVE = {
    "test_overload.py::test_calls_without_a_message_take_no_thread_from_others": "such calls never reach Python",
    "test_tls.py": "it has no TLS, and the settings refuse it",
    # Why is not known: 4 and 9 calls failed with UNAVAILABLE, over 3 and 6 connections.
    "workers/test_fleet.py::test_a_killed_worker_is_replaced_while_the_other_serves": "connections fail twice",
    "test_drain.py::test_old_connections_are_closed_gently": "it does not close connections by age",
    "test_health.py::test_watchers_that_take_nothing": "it takes from the health service what watchers do not read",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the transport under test does not have."""
    if TRANSPORT != "native":
        return
    for item in items:
        test = item.nodeid.removeprefix("tests/inference/").partition("[")[0]
        reason = NOT_ON_NATIVE.get(test) or NOT_ON_NATIVE.get(test.partition("::")[0])
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"GRPC_TRANSPORT=native: {reason}"))


@pytest.fixture(scope="session")
def retry_after_ms() -> Callable[[grpc.RpcError], int]:
    """Tell how long a refusal asks to wait; negative means for ever. `native` can send google.rpc.RetryInfo alone."""

    def of_trailer(error: grpc.RpcError) -> int:
        return int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])

    def of_details(error: grpc.RpcError) -> int:
        told = error_details_pb2.RetryInfo()
        details = rpc_status.from_call(error).details
        return told.retry_delay.ToMilliseconds() if any(detail.Unpack(told) for detail in details) else -1

    return of_details if TRANSPORT == "native" else of_trailer


BundleMaker = Callable[..., Path]


def _write_bundle(
    directory: Path,
    *,
    seed: int = 0,
    accuracy: float | None = 0.97,
    regression: bool = False,
    integers: int = 0,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    rows, target = load_iris(return_X_y=True)
    if integers:
        rows[:, :integers] = np.rint(rows[:, :integers])
    kind = RandomForestRegressor if regression else RandomForestClassifier
    model = kind(n_estimators=5, max_depth=4, random_state=seed).fit(rows, target)
    options = {} if regression else {id(model): {"zipmap": False}}
    compiled = to_onnx(
        model,
        initial_types=[("input", FloatTensorType([None, 4]))],
        options=options,
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    (directory / "model.onnx").write_bytes(compiled.SerializeToString())
    metrics = pb.ModelMetrics(train_rows=120, test_rows=30)
    if accuracy is not None:
        metrics.accuracy = accuracy
    _write_json(directory / "metrics.json", metrics)
    _write_json(directory / "manifest.json", _manifest(directory, model, rows[::30], regression, integers))
    return directory


def _manifest(
    directory: Path, model: object, rows: np.ndarray, regression: bool, integers: int
) -> pb.ModelManifest:
    manifest = pb.ModelManifest(
        schema_version=1,
        name="iris",
        task=pb.TASK_REGRESSION if regression else pb.TASK_CLASSIFICATION,
        classes=[] if regression else CLASSES,
        runtime=pb.RUNTIME_ONNX,
        sklearn_file="model.skops",
        parity=pb.Parity(passed=True, rows=150, bound=1e-5),
    )
    for index, name in enumerate(FEATURES):
        kind = pb.FEATURE_TYPE_INTEGER if index < integers else pb.FEATURE_TYPE_FLOAT
        manifest.features.add(name=name, type=kind)
    for path in sorted(directory.iterdir()):
        if path.name != "manifest.json":
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            manifest.files.add(path=path.name, sha256=digest, size_bytes=len(content))
    for row in rows.astype(np.float32):
        golden = manifest.golden_rows.add(features=row.tolist())
        if regression:
            golden.value = float(model.predict([row])[0])
        else:
            shares = model.predict_proba([row])[0]
            golden.class_index = int(shares.argmax())
            golden.probabilities.extend(shares.tolist())
    return manifest


def _write_json(path: Path, message: object) -> None:
    path.write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleMaker:
    """Write bundles of small forests on Iris; the same arguments give the same directory."""
    root = tmp_path_factory.mktemp("bundles")

    def make(**options: object) -> Path:
        name = "-".join(f"{key}-{value}" for key, value in sorted(options.items())) or "plain"
        directory = root / name
        return directory if directory.exists() else _write_bundle(directory, **options)

    return make


@pytest.fixture(scope="session")
def bundle(make_bundle: BundleMaker) -> Path:
    """One classification bundle that nobody changes."""
    return make_bundle()


@pytest.fixture(scope="session")
def mixed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model that takes texts, numbers and missing values."""
    return write_mixed_bundle(tmp_path_factory.mktemp("mixed") / "bundles" / "onnx")


@pytest.fixture(scope="module")
def registry(make_bundle: BundleMaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    """iris with three versions (1 is the champion, 2 the challenger), and price, a regression, with one."""
    registry = ModelRegistry(tmp_path_factory.mktemp("registry"))
    for seed in (1, 2, 3):
        registry.register("iris", make_bundle(seed=seed))
    registry.register("price", make_bundle(regression=True))
    registry.alias("iris", "champion", "1")
    registry.alias("iris", "challenger", "2")
    registry.alias("price", "champion", "1")
    yield registry
    registry.close()


@dataclass
class Running:
    """A server in this process, on ports of its own, and clients for both."""

    service: Service
    output: Path
    channel: grpc.Channel
    http: httpx.Client
    writer: LineWriter

    @property
    def stub(self) -> InferenceServiceStub:
        """A real stub."""
        return InferenceServiceStub(self.channel)

    @property
    def address(self) -> str:
        """Where gRPC listens."""
        return f"127.0.0.1:{self.service.grpc_port}"

    def events(self, count: int, timeout_seconds: float = 5.0) -> list[dict[str, Any]]:
        """Wait until `count` prediction events were written, and return the outer objects."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            lines = [json.loads(line) for line in self.output.read_text().splitlines()]
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.02)

    def metrics(self) -> list[str]:
        """The lines that Prometheus would scrape."""
        return self.http.get("/metrics").text.splitlines()


ServiceMaker = Callable[..., Running]


def _start(stack: ExitStack, output: Path, bundle: Path, load: bool, options: dict[str, Any]) -> Running:
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    stack.callback(os.close, descriptor)
    writer = LineWriter(descriptor)
    settings = Settings(
        **{
            "model_source": "local",
            "model_path": bundle,
            "model_cache_dir": cache_dir(bundle),
            "grpc_host": "127.0.0.1",
            "http_host": "127.0.0.1",
            "grpc_port": 0,
            "http_port": 0,
            "grpc_transport": TRANSPORT,
            **options,
        },
    )
    service = Service(settings, writer)
    writer.start()
    stack.callback(writer.close, 2)
    service.start()
    stack.callback(service.stop, 2)
    if load:
        service.load()
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}"))
    http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{service.http_port}"))
    return Running(service, output, channel, http, writer)


@pytest.fixture
def make_service(tmp_path: Path, bundle: Path) -> Iterator[ServiceMaker]:
    """Start servers in this process; options are settings, `model` another bundle, `load` whether to load."""
    with ExitStack() as stack:

        def make(model: Path = bundle, *, load: bool = True, **options: object) -> Running:
            output = tmp_path / f"output-{len(list(tmp_path.glob('output-*')))}"
            return _start(stack, output, model, load, options)

        yield make


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Running]:
    """One server for the tests of a module that change nothing."""
    with ExitStack() as stack:
        yield _start(stack, tmp_path_factory.mktemp("running") / "output", bundle, True, {})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, mixed_bundle: Path) -> Iterator[Running]:
    """One server of that model for the tests of a module that change nothing."""
    with ExitStack() as stack:
        yield _start(stack, tmp_path_factory.mktemp("mixed") / "output", mixed_bundle, True, {})


@dataclass
class Process:
    """`python -m inference` as a process of its own, with every line that it wrote."""

    popen: subprocess.Popen[bytes]
    lines: list[bytes] = field(default_factory=list)
    _arrived: "queue.Queue[bytes]" = field(default_factory=queue.Queue)

    def start_reading(self) -> None:
        """Collect standard output in the background."""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line)
            self._arrived.put(line)

    def wait_for(self, message: str, timeout_seconds: float = 30.0) -> dict[str, Any]:
        """Return the next line with this message."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            try:
                line = json.loads(self._arrived.get(timeout=0.1))
            except queue.Empty:
                if self.popen.poll() is not None and self._arrived.empty():
                    break
                continue
            if line["message"] == message:
                return dict(line)
        raise AssertionError(f"no line {message!r} among {self.lines}")

    def end(self, timeout_seconds: float = 30.0) -> int:
        """Wait until it ended and everything was read; return the exit code."""
        code = self.popen.wait(timeout_seconds)
        self._reader.join(timeout_seconds)
        return code


ProcessMaker = Callable[..., Process]


@pytest.fixture
def make_process(bundle: Path) -> Iterator[ProcessMaker]:
    """Start server processes; options are environment variables."""
    started: list[Process] = []

    def make(*arguments: str, **variables: object) -> Process:
        common = {
            "GRPC_TRANSPORT": TRANSPORT,
            "GRPC_NATIVE_TRUST_PEERS": "true",  # for tests of addresses that are not ours
        }
        environment = server_environment(bundle, **{**common, **variables})
        popen = subprocess.Popen(
            [sys.executable, "-m", "inference", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        process = Process(popen)
        started.append(process)
        process.start_reading()
        return process

    yield make
    for process in started:
        process.popen.kill()
        process.end()
        assert process.popen.stdout is not None
        process.popen.stdout.close()
