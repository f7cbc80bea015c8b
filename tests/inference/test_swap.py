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
from inference.errors import (
    BundleError,
    GateError,
    InferenceError,
    InvalidRequestError,
    NoPreviousModelError,
    NotReadyError,
    RegistryUnavailableError,
)
from inference.generation import ModelHolder
from inference.metrics import Metrics
from inference.swap import Loading, Swapper
from protos.inference.v1.manifest_pb2 import GoldenRow, ModelManifest, ModelMetrics


class _Predictor:
    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        return Outputs(class_index=np.zeros(len(features), np.int64))


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
        self.holder = ModelHolder()
        self.metrics = Metrics("stable")
        self.load_error: Exception | None = None
        self.check_error: Exception | None = None
        loading = Loading(self._load, self._check, min_accuracy)
        self.swapper = Swapper(
            self.holder,
            self.repository,
            loading,
            self.metrics,
            model_uri="models:/iris@champion",
            drain_seconds=drain_seconds,
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
        _World().holder.acquire()


def test_a_new_version_replaces_the_old_one() -> None:
    """After a swap the new version serves, the old one is kept, and metrics tell of the new one alone."""
    world = _World()
    assert world.swapper.reload().outcome == "swapped"
    world.repository.version = "2"
    assert world.swapper.reload().outcome == "swapped"
    assert (world.holder.current.version, world.holder.previous.version) == ("2", "1")
    assert world.holder.current.number == 2
    assert world.infos() == ["2"]
    assert world.swaps() == {"swapped": 2}


def test_the_same_model_is_left_alone() -> None:
    """When version and digest are those that serve, nothing is loaded."""
    world = _World()
    world.swapper.reload()
    generation = world.holder.current
    assert world.swapper.reload().outcome == "unchanged"
    assert world.holder.current is generation


@pytest.mark.parametrize("step", ["fetch", "gate", "load", "check", "defect"])
def test_any_failure_leaves_the_old_model(step: str) -> None:
    """Whatever step fails, the old generation serves on, and the failure is counted and kept for /health."""
    world = _World(min_accuracy=0.8)
    world.swapper.reload()
    old = world.holder.current
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
    assert world.holder.current is old
    assert world.holder.previous is None
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
    swapper = Swapper(
        world.holder,
        world.repository,
        Loading(lambda _: _Predictor(), lambda *_: None),
        world.metrics,
        model_uri=None,
        drain_seconds=1,
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
    assert (world.holder.current.version, world.holder.current.number) == ("1", 3)
    assert world.infos() == ["1"]
    world.swapper.rollback()
    assert world.holder.current.version == "2"


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


def test_reloads_come_one_after_the_other() -> None:
    """Reloads at the same time never run together; the later ones find nothing to do."""
    world = _World()
    running, most = 0, 0

    def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1

    world.repository.before = count
    with ThreadPoolExecutor(8) as pool:
        outcomes = [record.outcome for record in pool.map(lambda _: world.swapper.reload(), range(8))]
    assert most == 1
    assert sorted(outcomes) == ["swapped"] + ["unchanged"] * 7


def test_a_swap_waits_for_requests_in_flight() -> None:
    """A reload returns once nobody uses the old generation; new requests get the new one meanwhile."""
    world = _World()
    world.swapper.reload()
    held = world.holder.acquire()
    world.repository.version = "2"
    done = threading.Event()
    thread = threading.Thread(target=lambda: (world.swapper.reload(), done.set()))
    thread.start()
    while world.holder.current.version != "2":
        time.sleep(0.001)
    assert not done.wait(0.1)
    assert held.version == "1"
    fresh = world.holder.acquire()
    assert fresh.version == "2"
    world.holder.release(held)
    assert done.wait(2)
    thread.join()
    assert fresh.in_flight == 1


def test_draining_is_bounded() -> None:
    """A request that never ends does not hold a reload up for ever."""
    world = _World(drain_seconds=0.05)
    world.swapper.reload()
    world.holder.acquire()
    world.repository.version = "2"
    assert world.swapper.reload().outcome == "swapped"
