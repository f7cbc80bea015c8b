"""Changing the model: the old one serves until the new one does."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from inference.artifacts import Bundle, FetchedModel, Outputs, RegistryDiagnostics
from inference.catalog import Catalog, slot_of
from inference.errors import (
    BundleError,
    GateError,
    InferenceError,
    InvalidRequestError,
    NoPreviousModelError,
    NotReadyError,
    RegistryUnavailableError,
)
from inference.metrics import Metrics
from inference.stage import Loading, Stage
from inference.swap import Swapper
from protos.inference.v1.manifest_pb2 import GoldenRow, ModelManifest, ModelMetrics


class _Predictor:
    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        rows = len(features)
        return Outputs(class_index=np.zeros(rows, np.int64), probabilities=np.ones((rows, 1), np.float32))


@dataclass
class _Repository:
    """Gives what the test put in it; stands for a registry, since only its answers matter here."""

    version: str = "1"
    accuracy: float | None = 0.9
    error: InferenceError | None = None
    stale_reason: str = ""
    asked: list[str | None] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        self.asked.append(model_uri)
        self.before()
        if self.error is not None:
            raise self.error
        manifest = ModelManifest(name="iris", classes=["a"], golden_rows=[GoldenRow(features=[1.0])])
        manifest.features.add(name="x")
        bundle = Bundle(Path("b"), manifest, ModelMetrics(accuracy=self.accuracy), f"digest-{self.version}")
        return FetchedModel("iris", self.version, bundle, self.stale_reason)

    def diagnostics(self) -> RegistryDiagnostics:
        return RegistryDiagnostics("", "", None, "")


class _World:
    def __init__(self, *, min_accuracy: float | None = None, drain_seconds: float = 5) -> None:
        self.repository = _Repository()
        self.slot = slot_of("models:/iris@champion")
        self.catalog = Catalog([self.slot])
        self.metrics = Metrics("stable")
        self.load_error: Exception | None = None
        self.check_error: Exception | None = None
        loading = Loading(self._load, self._check, min_accuracy)
        self.swapper = Swapper(
            self.slot,
            self.repository,
            Stage(self.catalog, loading, self.metrics, drain_seconds=drain_seconds),
            self.metrics,
            model_uri="models:/iris@champion",
            one_at_a_time=threading.Lock(),
        )

    def _load(self, _bundle: Bundle) -> _Predictor:
        if self.load_error is not None:
            raise self.load_error
        return _Predictor()

    def _check(self, _bundle: Bundle, _predictor: object) -> None:
        if self.check_error is not None:
            raise self.check_error

    def swaps(self) -> dict[str, float]:
        samples = [s for m in self.metrics.registry.collect() for s in m.samples]
        return {s.labels["outcome"]: s.value for s in samples if s.name == "ml_model_swaps_total" and s.value}

    def infos(self) -> list[str]:
        samples = [s for m in self.metrics.registry.collect() for s in m.samples]
        return [s.labels["version"] for s in samples if s.name == "ml_model_info"]


def test_nothing_serves_before_the_first_load() -> None:
    """A request before the first model is told to come back."""
    with pytest.raises(NotReadyError):
        _World().catalog.acquire()


def test_a_new_version_replaces_the_old_one() -> None:
    """After a swap the new version serves, the old one is kept, and metrics tell of the new one alone."""
    world = _World()
    assert world.swapper.reload().outcome == "swapped"
    world.repository.version = "2"
    assert world.swapper.reload().outcome == "swapped"
    assert (world.slot.current.version, world.slot.previous.version) == ("2", "1")
    assert world.slot.current.number == 2
    assert world.infos() == ["2"]
    assert world.swaps() == {"swapped": 2}


def test_the_same_model_is_left_alone() -> None:
    """When version and digest are those that serve, nothing is loaded."""
    world = _World()
    world.swapper.reload()
    generation = world.slot.current
    assert world.swapper.reload().outcome == "unchanged"
    assert world.slot.current is generation


@pytest.mark.parametrize("step", ["fetch", "gate", "load", "check", "defect"])
def test_any_failure_leaves_the_old_model(step: str) -> None:
    """Whatever step fails, the old generation serves on, and the failure is counted and kept for /health."""
    world = _World(min_accuracy=0.8)
    world.swapper.reload()
    old = world.slot.current
    world.repository.version = "2"
    broken = BundleError("b", "broken")
    if step == "fetch":
        world.repository.error = RegistryUnavailableError("http://r", "down")
    elif step == "gate":
        world.repository.accuracy = 0.5
    elif step == "load":
        world.load_error = broken
    elif step == "check":
        world.check_error = broken
    else:
        world.load_error = ZeroDivisionError("secret")
    with pytest.raises((InferenceError, ZeroDivisionError)):
        world.swapper.reload("models:/iris/2")
    assert world.slot.current is old
    assert world.slot.previous is None
    assert world.swapper.last.outcome == "failed"
    assert world.swapper.last.error
    assert "secret" not in world.swapper.last.error
    assert world.swapper.model_uri == "models:/iris@champion"
    assert world.swaps() == {"swapped": 1, "failed": 1}


def test_the_gate_refuses_missing_accuracy() -> None:
    """A model that does not say how good it is does not pass a gate."""
    world = _World(min_accuracy=0.8)
    world.repository.accuracy = None
    with pytest.raises(GateError, match="MODEL_MIN_ACCURACY"):
        world.swapper.reload()


def test_a_given_uri_becomes_the_configured_one() -> None:
    """A reload without a URI asks for what the last successful reload named."""
    world = _World()
    world.swapper.reload("models:/iris/2")
    world.swapper.reload()
    assert world.repository.asked == ["models:/iris/2", "models:/iris/2"]


def test_a_single_model_takes_no_uri() -> None:
    """With a local bundle a URI would be silently ignored, so it is refused."""
    world = _World()
    loading = Loading(lambda _: _Predictor(), lambda *_: None)
    swapper = Swapper(
        world.slot,
        world.repository,
        Stage(world.catalog, loading, world.metrics, drain_seconds=1),
        world.metrics,
        model_uri=None,
        one_at_a_time=threading.Lock(),
    )
    with pytest.raises(InvalidRequestError, match="MODEL_SOURCE"):
        swapper.reload("models:/iris/2")


def test_rollback_serves_the_previous_model_again() -> None:
    """A rollback needs no registry, and rolling back twice is rolling forward."""
    world = _World()
    world.swapper.reload()
    world.repository.version = "2"
    world.swapper.reload()
    world.repository.error = RegistryUnavailableError("http://r", "down")
    assert world.swapper.rollback().outcome == "rolled_back"
    assert (world.slot.current.version, world.slot.current.number) == ("1", 3)
    assert world.infos() == ["1"]
    world.swapper.rollback()
    assert world.slot.current.version == "2"


def test_rollback_needs_a_previous_model() -> None:
    """With one model there is nothing to go back to."""
    world = _World()
    world.swapper.reload()
    with pytest.raises(NoPreviousModelError):
        world.swapper.rollback()


def test_staleness_is_told_until_the_registry_answers() -> None:
    """A model from the cache says so; the same model verified by the registry no longer does."""
    world = _World()
    world.repository.stale_reason = "registry down"
    world.swapper.reload()
    assert world.swapper.stale_reason == "registry down"
    world.repository.stale_reason = ""
    assert world.swapper.reload().outcome == "unchanged"
    assert world.swapper.stale_reason == ""


def test_reloads_that_wait_become_one() -> None:
    """While one reload runs, all that come join one more: never two at a time, and none is answered by a look
    that began before it asked."""
    world = _World()
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(10)

    world.repository.before = hold
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(world.swapper.reload)
        assert begun.wait(10)
        others = [pool.submit(world.swapper.reload) for _ in range(8)]
        while pool._work_queue.qsize():
            time.sleep(0.001)
        time.sleep(0.1)  # the last of them may be between its start and joining
        world.repository.version = "2"
        go.set()
        assert first.result(10).outcome == "swapped"
        assert {other.result(10).outcome for other in others} <= {"swapped", "unchanged"}
    assert world.slot.current.version == "2"
    assert len(world.repository.asked) <= 3


def test_a_failed_reload_fails_for_all_who_joined() -> None:
    """Everybody who waited for a reload learns why it failed."""
    world = _World()
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(10)

    world.repository.before = hold
    world.repository.error = RegistryUnavailableError("http://r", "down")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(world.swapper.reload) for _ in range(4)]
        assert begun.wait(10)
        go.set()
        assert all(isinstance(call.exception(10), RegistryUnavailableError) for call in calls)


def test_a_reload_does_not_outlive_the_server() -> None:
    """A reload that is under way when the server begins to shut down switches nothing any more."""
    world = _World()
    world.swapper.reload()
    world.repository.version = "2"
    world.repository.before = world.swapper.close
    with pytest.raises(NotReadyError, match="shutting down"):
        world.swapper.reload()
    assert world.slot.current.version == "1"
    with pytest.raises(NotReadyError):
        world.swapper.rollback()


def test_an_unloaded_model_is_gone_until_it_is_loaded_again() -> None:
    """After an unload nothing answers; a reload brings the model back as a new generation."""
    world = _World()
    world.swapper.reload()
    assert world.swapper.unload().outcome == "unloaded"
    assert world.infos() == []
    with pytest.raises(NotReadyError):
        world.catalog.acquire()
    assert world.swapper.reload().outcome == "swapped"
    assert world.slot.current.number == 2


def test_a_swap_waits_for_requests_in_flight() -> None:
    """A reload returns once nobody uses the old generation; new requests get the new one meanwhile."""
    world = _World()
    world.swapper.reload()
    held = world.catalog.acquire()
    world.repository.version = "2"
    done = threading.Event()
    thread = threading.Thread(target=lambda: (world.swapper.reload(), done.set()))
    thread.start()
    while world.slot.current.version != "2":
        time.sleep(0.001)
    assert not done.wait(0.1)
    assert held.version == "1"
    fresh = world.catalog.acquire()
    assert fresh.version == "2"
    world.catalog.release(held)
    assert done.wait(2)
    thread.join()
    assert fresh.in_flight == 1


def test_draining_is_bounded() -> None:
    """A request that never ends does not hold a reload up for ever."""
    world = _World(drain_seconds=0.05)
    world.swapper.reload()
    world.catalog.acquire()
    world.repository.version = "2"
    assert world.swapper.reload().outcome == "swapped"
