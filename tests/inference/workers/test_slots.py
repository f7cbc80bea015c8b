"""Several models in several processes, from a registry that only the supervisor asks."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.artifacts import Cache
from inference.artifacts.address import identify
from inference.artifacts.bundle import read_bundle
from inference.artifacts.cache import Record
from inference.lines import LineWriter
from inference.service import Service
from inference.settings import Settings
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

pytestmark = pytest.mark.slow

#: Nobody listens there (RFC 863's port): whatever is served comes from the cache.
REGISTRY = "http://127.0.0.1:9"


@pytest.fixture
def cache_dir(make_bundle: object, tmp_path: Path) -> Path:
    """A cache in which three models of that registry lie."""
    cache = Cache(tmp_path / "cache")
    uris = {"iris": "models:/iris/1", "wine": "models:/wine/1", "late": "models:/late@champion"}
    for seed, (name, uri) in enumerate(uris.items(), 1):
        source = make_bundle(seed=seed)
        digest = read_bundle(source).digest
        with cache.staging() as directory, cache.lock(digest):
            shutil.copytree(source, directory, dirs_exist_ok=True)
            cache.install(directory, digest)
        cache.write_record(identify(REGISTRY), uri, Record(name, "1", digest))
    return tmp_path / "cache"


@pytest.fixture
def service(cache_dir: Path, tmp_path: Path) -> Iterator[Service]:
    """A server with two models and two workers, in this process but for the workers."""
    settings = Settings(
        model_uri="models:/iris/1",
        model_uris=("models:/wine/1",),
        mlflow_tracking_uri=REGISTRY,
        model_cache_dir=cache_dir,
        grpc_host="127.0.0.1",
        http_host="127.0.0.1",
        grpc_port=0,
        http_port=0,
        server_workers=2,
        prediction_log_sample_rate=0.0,
    )
    descriptor = os.open(tmp_path / "output", os.O_CREAT | os.O_WRONLY)
    writer = LineWriter(descriptor)
    service = Service(settings, writer)
    writer.start()
    try:
        service.start()
        service.load()
        yield service
    finally:
        assert service.stop(5)
        writer.close(2)
        os.close(descriptor)


def _ask(service: Service, name: str) -> list[str]:
    """Ask over eight connections for one model; return who answered, or the status."""
    answers = []
    request = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])], model_name=name)
    for _ in range(8):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}", options) as channel:
            try:
                answers.append(InferenceServiceStub(channel).Predict(request, timeout=10).model_name)
            except grpc.RpcError as error:
                answers.append(error.code().name)
    return answers


def _health(service: Service) -> set[str]:
    """Ask over eight connections; return what was said."""
    said = set()
    request = health_pb2.HealthCheckRequest(service="inference.v1.InferenceService")
    for _ in range(8):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}", options) as channel:
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status
            said.add(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
    return said


def _replace_all(service: Service) -> None:
    fleet = service._fleet
    assert fleet is not None
    before = [worker.restarts for worker in fleet.workers]
    for worker in fleet.workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
    _until(lambda: [worker.restarts for worker in fleet.workers] == [each + 1 for each in before])
    _until(lambda: [worker.state for worker in fleet.workers] == ["serving", "serving"])


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_models_come_and_go_in_all_workers(service: Service) -> None:
    """Configured, unloaded and added models are the same in every worker, in those that are replaced too."""
    assert _ask(service, "iris") == ["iris"] * 8
    assert _ask(service, "wine") == ["wine"] * 8
    assert _ask(service, "late") == ["NOT_FOUND"] * 8
    service.roster.unload("wine")
    service.roster.load("late")
    assert _ask(service, "wine") == ["NOT_FOUND"] * 8
    assert _ask(service, "late") == ["late"] * 8
    _replace_all(service)
    assert _ask(service, "") == ["iris"] * 8
    assert _ask(service, "wine") == ["NOT_FOUND"] * 8
    assert _ask(service, "late") == ["late"] * 8
    service.roster.load("wine")
    assert _ask(service, "wine") == ["wine"] * 8


def test_health_of_all_workers_follows_the_models(service: Service) -> None:
    """When nothing is left to serve no worker says SERVING, and all do when something is."""
    assert _health(service) == {"SERVING"}
    for name in ("iris", "wine"):
        service.roster.unload(name)
    assert _health(service) == {"NOT_SERVING"}
    service.roster.load("iris")
    assert _health(service) == {"SERVING"}


def test_workers_hold_what_they_serve_in_the_cache(service: Service, cache_dir: Path) -> None:
    """An eviction spares the bundles of workers, whatever the quota; they outlive a restart of the worker."""
    serving = {digest for slot in service.catalog.slots if slot.current for digest in [slot.current.digest]}
    evicting = Cache(cache_dir, max_bytes=1)
    for slot in service.catalog.slots:  # as if the supervisor did not hold them
        assert slot.current is not None
        slot.current.release_bundle()
    evicting.evict(frozenset())
    assert {path.name for path in (cache_dir / "bundles").iterdir()} == serving
