"""Generations without a file behind them, for tests of what happens around a model."""

import dataclasses
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from inference.artifacts import Bundle, FetchedModel, Outputs, RegistryDiagnostics
from inference.errors import InferenceError
from inference.generation import Generation
from inference.metrics import Metrics
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import GoldenRow, ModelManifest, ModelMetrics

_METRICS = Metrics("stable")


class FirstClass:
    """Says the first class of every row."""

    runtime = "fake"

    def predict(self, features: np.ndarray) -> Outputs:
        rows = len(features)
        return Outputs(class_index=np.zeros(rows, np.int64), probabilities=np.ones((rows, 1), np.float32))


def bundle_of(name: str, version: str) -> Bundle:
    """Return a bundle of a model with one feature."""
    manifest = ModelManifest(name=name, classes=["a"], golden_rows=[GoldenRow(features=[1.0])])
    manifest.features.add(name="x")
    return Bundle(Path("b"), manifest, ModelMetrics(accuracy=0.9), f"digest-{name}-{version}")


def generation_of(name: str, version: str, *, release: Callable[[], None] = lambda: None) -> Generation:
    """Return a generation that can predict."""
    bundle = bundle_of(name, version)
    return Generation(
        number=1,
        name=name,
        version=version,
        bundle=bundle,
        predictor=FirstClass(),
        signature=Signature(bundle.manifest),
        classes=("a",),
        counters=_METRICS.prediction_counters(["a"]),
        loaded_at=datetime.now(UTC),
        release_bundle=release,
    )


class NamedModels:
    """Stands for a registry of which only the answers matter: what each model URI leads to, or an error."""

    def __init__(self, **versions: str) -> None:
        self.answers: dict[str, tuple[str, str] | InferenceError] = {}
        self.asked: list[str | None] = []
        self.before: Callable[[], None] = lambda: None
        for name, version in versions.items():
            self.answers[f"models:/{name}@champion"] = (name, version)

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Answer."""
        self.asked.append(model_uri)
        self.before()
        answer = self.answers[model_uri or ""]
        if isinstance(answer, InferenceError):
            raise answer
        return FetchedModel(*answer, bundle_of(*answer))

    def diagnostics(self) -> RegistryDiagnostics:
        """Know nothing."""
        return RegistryDiagnostics()


class Gated:
    """Answers with equal shares of three classes when the test lets it."""

    runtime = "fake"

    def __init__(self) -> None:
        self.go = threading.Event()

    def predict(self, features: np.ndarray) -> Outputs:
        self.go.wait(20)
        shares = np.full((len(features), 3), 1 / 3, np.float32)
        return Outputs(class_index=shares.argmax(axis=1), probabilities=shares)


def gate(running: object) -> Gated:
    """Let the model of a running server wait for the test."""
    gated, catalog = Gated(), running.service.catalog
    (slot,) = catalog.slots
    catalog.switch(slot, dataclasses.replace(slot.current, predictor=gated))
    return gated
