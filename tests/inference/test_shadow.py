"""A model that is compared with the default model, off the path of the answers."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from inference import shadow as shadow_module
from inference.agreement import REGRESSION_TOLERANCE_RATIO, agreeing_rows, features_for
from inference.artifacts import Bundle, Outputs
from inference.client import PredictionClient
from inference.errors import InvalidRequestError
from inference.generation import Generation
from inference.metrics import Metrics
from inference.settings import Settings
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import (
    FEATURE_TYPE_CATEGORY,
    FEATURE_TYPE_FLOAT,
    FEATURE_TYPE_INTEGER,
    ModelManifest,
)
from tests.inference.model_registry import ModelRegistry
from tests.inference.server_process import server_environment

ROWS, TARGET = load_iris(return_X_y=True)
#: Random rows, where two forests that learned the same data differ now and then.
ROWS = np.random.default_rng(0).uniform(ROWS.min(axis=0), ROWS.max(axis=0), (400, 4)).astype(np.float32)


def _forest(seed: int) -> RandomForestClassifier:
    """The forest that `make_bundle(seed=…)` compiles."""
    rows, target = load_iris(return_X_y=True)
    return RandomForestClassifier(n_estimators=5, max_depth=4, random_state=seed).fit(rows, target)


@pytest.fixture
def shadowed(make_service: Callable[..., object], registry: ModelRegistry) -> Callable[..., object]:
    """Start a server of version 1 with version 2 as its shadow, which scores every request."""

    def start(**options: object) -> object:
        shadow = {"shadow_model_uri": "models:/iris@challenger", "shadow_sample_rate": 1.0}
        return make_service(**{**registry.settings, **shadow, **options})

    return start


def _counts(running: object) -> dict[str, float]:
    lines = [line for line in running.metrics() if line.startswith("ml_shadow_")]
    return {name.removeprefix("ml_shadow_"): float(value) for name, value in map(str.split, lines)}


def _requests(running: object, *outcomes: str) -> float:
    counts = _counts(running)
    return sum(counts[f'requests_total{{outcome="{outcome}"}}'] for outcome in outcomes)


def _wait_for(running: object, count: int, *outcomes: str) -> None:
    deadline = time.monotonic() + 10
    while _requests(running, *outcomes) < count:
        assert time.monotonic() < deadline, _counts(running)
        time.sleep(0.01)


class _Slow:
    """A model that answers when the test lets it."""

    runtime = "fake"

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def predict(self, features: np.ndarray) -> Outputs:
        self.begun.set()
        self.go.wait(20)
        rows = len(features)
        return Outputs(class_index=np.zeros(rows, np.int64), probabilities=np.ones((rows, 1), np.float32))


class _Failing:
    runtime = "fake"

    def predict(self, _features: np.ndarray) -> Outputs:
        raise ZeroDivisionError("secret")


def _replace_predictor(running: object, predictor: object) -> None:
    shadow = running.service.shadow
    slot = shadow.swapper.slot
    shadow.catalog.switch(slot, dataclasses.replace(slot.current, predictor=predictor))


@pytest.mark.slow
def test_agreement_is_what_scikit_learn_says(shadowed: object) -> None:
    """Every row is compared, over both protocols, and the counts are those of the two forests themselves."""
    running = shadowed()
    with PredictionClient(running.address) as client:
        for row in ROWS[:40]:
            client.predict([row.tolist()])
        answers = client.predict(ROWS[40:].tolist())
    assert answers.model_version == "1"
    assert running.http.post("/predict", json={"rows": ROWS[:10].tolist()}).status_code == 200
    _wait_for(running, 42, "scored", "dropped")
    assert _requests(running, "dropped", "failed", "skipped") == 0
    same = _forest(1).predict(ROWS) == _forest(2).predict(ROWS)
    assert 0 < (~same).sum() < len(ROWS)
    counts = _counts(running)
    assert counts['rows_total{agreement="agree"}'] == same.sum() + same[:10].sum()
    assert counts['rows_total{agreement="differ"}'] == (~same).sum() + (~same[:10]).sum()
    assert counts["latency_seconds_count"] == 42
    (info,) = [name for name in counts if name.startswith("model_info")]
    assert 'model="iris"' in info
    assert 'version="2"' in info
    assert 'track="stable"' in info


@pytest.mark.slow
def test_the_shadow_is_shown_and_cannot_be_asked(shadowed: object) -> None:
    """/health shows it beside the models; requests, metrics of models and the index know nothing of it."""
    running = shadowed()
    health = running.http.get("/health").json()
    assert health["status"] == "ready"
    assert health["shadow"]["model_uri"] == "models:/iris@challenger"
    assert health["shadow"]["model"]["version"] == "2"
    assert health["shadow"]["last_swap"]["outcome"] == "swapped"
    assert health["shadow"]["sample_rate"] == 1.0
    assert [model["model"]["version"] for model in health["models"]] == ["1"]
    for version in ("2", "challenger"):
        body = {"rows": [[1, 2, 3, 4]], "model_version": version}
        assert running.http.post("/predict", json=body).status_code == 404
    assert [entry.version for entry in running.service.roster.index()] == ["1"]
    infos = [line for line in running.metrics() if line.startswith("ml_model_info")]
    assert len(infos) == 1
    assert 'ml_model_swaps_total{outcome="swapped"} 1.0' in running.metrics()


@pytest.mark.slow
def test_replays_and_a_rate_of_nothing_are_not_scored(shadowed: object) -> None:
    """A request marked as a replay is not user traffic, and a rate of 0 chooses no request."""
    running = shadowed()
    reply = running.http.post("/predict", json={"rows": [[1, 2, 3, 4]]}, headers={"x-shadow-request": "true"})
    assert reply.status_code == 200
    never = shadowed(shadow_sample_rate=0.0)
    assert never.http.post("/predict", json={"rows": [[1, 2, 3, 4]]}).status_code == 200
    assert running.http.post("/predict", json={"rows": [[1, 2, 3, 4]]}).status_code == 200
    _wait_for(running, 1, "scored")
    every = ("scored", "failed", "dropped", "skipped")
    assert (_requests(running, *every), _requests(never, *every)) == (1, 0)


@pytest.mark.slow
def test_requests_beyond_the_room_are_dropped_and_counted(
    shadowed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shadow busy the queue fills; answers come as ever, and each request is counted once."""
    monkeypatch.setattr(shadow_module, "MAX_RECORDS", 5)
    monkeypatch.setattr(shadow_module, "MAX_NUMBERS", 1000)
    running = shadowed()
    slow = _Slow()
    _replace_predictor(running, slow)
    with PredictionClient(running.address) as client:
        client.predict([[1, 2, 3, 4]])
        assert slow.begun.wait(10)
        for _ in range(20):
            assert client.predict([[1, 2, 3, 4]], deadline_seconds=5).labels
    assert _requests(running, "dropped") == 15
    slow.go.set()
    _wait_for(running, 6, "scored")
    client_rows = [[1.0, 2.0, 3.0, 4.0]] * 251  # more numbers than there is room for, in one request
    assert running.http.post("/predict", json={"rows": client_rows}).status_code == 200
    assert _requests(running, "dropped") == 16
    assert _requests(running, "scored") == 6


@pytest.mark.slow
def test_a_failing_shadow_harms_nothing(shadowed: object) -> None:
    """Its errors are counted and never reach a caller, and it is tried again with the next request."""
    running = shadowed()
    _replace_predictor(running, _Failing())
    with PredictionClient(running.address) as client:
        for _ in range(3):
            assert client.predict([[1, 2, 3, 4]]).model_version == "1"
    _wait_for(running, 3, "failed")
    assert running.http.get("/health/ready").status_code == 200
    assert running.service.shadow.swapper.slot.current.in_flight == 0


@pytest.mark.slow
def test_a_shadow_that_cannot_be_loaded_stops_no_server(shadowed: object, registry: ModelRegistry) -> None:
    """The server is ready without it; /health says why, and what it would have scored counts as skipped."""
    running = shadowed(shadow_model_uri="models:/iris/99")
    assert running.http.get("/health/ready").status_code == 200
    shown = running.http.get("/health").json()["shadow"]
    assert shown["model"] is None
    assert shown["last_swap"]["outcome"] == "failed"
    assert "no version 99" in shown["last_swap"]["error"]
    assert running.http.post("/predict", json={"rows": [[1, 2, 3, 4]]}).status_code == 200
    assert _requests(running, "skipped") == 1
    assert "ml_shadow_model_info{" not in "\n".join(running.metrics())


@pytest.mark.slow
def test_a_shadow_of_another_kind_is_skipped(shadowed: object) -> None:
    """A regression beside a classification compares with nothing."""
    running = shadowed(shadow_model_uri="models:/price/1")
    assert running.http.post("/predict", json={"rows": [[1, 2, 3, 4]]}).status_code == 200
    _wait_for(running, 1, "skipped")


@pytest.mark.slow
def test_a_reload_of_everything_reloads_the_shadow(shadowed: object, registry: ModelRegistry) -> None:
    """When the shadow's alias moves, the next reload follows it."""
    running = shadowed(admin_api_token="t")
    registry.alias("iris", "challenger", "1")
    try:
        reply = running.http.post("/admin/reload", headers={"x-admin-token": "t"}, timeout=60)
        assert reply.json()["outcome"] == "unchanged"
        assert running.http.get("/health").json()["shadow"]["model"]["version"] == "1"
    finally:
        registry.alias("iris", "challenger", "2")


# A server whose shadow hangs on the first record it is given.
HANGING = """
import dataclasses, logging, sys, threading
import inference.service as service

load = service.Service.load

class Hanging:
    runtime = "fake"
    def predict(self, features):
        threading.Event().wait(300)

def load_and_hang(self):
    load(self)
    slot = self.shadow.swapper.slot
    self.shadow.catalog.switch(slot, dataclasses.replace(slot.current, predictor=Hanging()))
    logging.getLogger("ready").warning("hanging")

service.Service.load = load_and_hang
from inference.__main__ import main
sys.exit(main([]))
"""


@pytest.mark.slow
def test_sigterm_with_a_full_queue_ends_in_time(registry: ModelRegistry) -> None:
    """Neither what still waits for the shadow nor what it works on holds up the end of the process."""
    variables = {name.upper(): str(value) for name, value in registry.settings.items() if value is not None}
    shadow = {"SHADOW_MODEL_URI": "models:/iris@challenger", "SHADOW_SAMPLE_RATE": "1"}
    environment = server_environment(**variables, **shadow)
    popen = subprocess.Popen(
        [sys.executable, "-c", HANGING], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        lines: dict[str, dict[str, object]] = {}
        while "hanging" not in lines:
            line = json.loads(popen.stdout.readline())
            lines[line["message"]] = line
        with PredictionClient(f"127.0.0.1:{lines['listening']['grpc_port']}") as client:
            for _ in range(300):
                client.predict([[1, 2, 3, 4]])
        text = httpx.get(f"http://127.0.0.1:{lines['listening']['http_port']}/metrics").text
        assert 'ml_shadow_requests_total{outcome="dropped"} 43.0' in text  # 256 wait, and one is worked on
        started = time.monotonic()
        popen.terminate()
        output, _ = popen.communicate(timeout=20)
        assert time.monotonic() - started < 6
        assert popen.returncode == 0
        assert json.loads(output.splitlines()[-1])["message"] == "stopped"
    finally:
        popen.kill()
        popen.communicate()


def test_several_processes_have_no_shadow() -> None:
    """A setting that would score nothing that workers answer is refused instead of ignored."""
    with pytest.raises(ValidationError, match="SHADOW_MODEL_URI is set"):
        Settings(shadow_model_uri="models:/iris/2", server_workers=2)


# What agreement is, without a server.


def _generation(names: str, classes: tuple[str, ...] = ("a", "b"), integers: str = "") -> Generation:
    manifest = ModelManifest(name="m", classes=classes)
    for name in names:
        kind = FEATURE_TYPE_INTEGER if name in integers else FEATURE_TYPE_FLOAT
        manifest.features.add(name=name, type=kind)
    return Generation(
        number=1,
        name="m",
        version="1",
        bundle=Bundle(Path("m"), manifest, None, "d"),
        predictor=_Failing(),
        signature=Signature(manifest),
        classes=classes,
        counters=Metrics("stable").prediction_counters(list(classes)),
        loaded_at=datetime.now(UTC),
    )


@given(st.permutations("abcd"), st.integers(1, 4))
def test_features_follow_their_names(order: list[str], count: int) -> None:
    """Whatever order the shadow has, and when it takes fewer features, each column goes to its name."""
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    found = features_for(_generation("".join(order[:count])), _generation("abcd"), rows)
    assert found.tolist() == rows[:, ["abcd".index(name) for name in order[:count]]].tolist()
    assert found.flags.c_contiguous
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "shadow",
    [_generation("abx"), _generation("ab", classes=()), _generation("ab", integers="b")],
    ids=["missing", "kind", "whole"],
)
def test_features_that_do_not_fit_are_refused(shadow: Generation) -> None:
    """A missing feature, another kind of model, and fractions where whole numbers are wanted do not fit."""
    with pytest.raises(InvalidRequestError):
        features_for(shadow, _generation("ab"), np.full((1, 2), 1.5, np.float32))


def _categories(*features: tuple[str, bool], strict: bool = True) -> Generation:
    """A model whose features a, b, … have these categories (letters) or none, and may be missing or not."""
    generation = _generation("abcd"[: len(features)])
    manifest = generation.bundle.manifest
    for feature, (texts, nullable) in zip(manifest.features, features, strict=True):
        feature.nullable = nullable
        if texts:
            feature.type = FEATURE_TYPE_CATEGORY
            feature.categories.extend(texts)
            feature.unknown_as_missing = not strict
    return dataclasses.replace(generation, signature=Signature(manifest))


def test_categories_keep_their_texts() -> None:
    """Two trainings may know other categories, in another order: the codes change, the texts stay."""
    primary = _categories(("xyz", True), ("", True))
    shadow = _categories(("zyx", True), ("", True))
    rows = np.array([[0, 1.5], [1, np.nan], [2, 0], [np.nan, 0]], np.float32)
    found = features_for(shadow, primary, rows)
    np.testing.assert_array_equal(found, [[2, 1.5], [1, np.nan], [0, 0], [np.nan, 0]])
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(features_for(primary, primary, rows), rows)


def test_a_category_that_the_shadow_does_not_know() -> None:
    """It is a missing value where the shadow takes it for one, else nothing is compared."""
    primary, rows = _categories(("xyz", False)), np.array([[0], [2]], np.float32)
    lenient = _categories(("x", True), strict=False)
    np.testing.assert_array_equal(features_for(lenient, primary, rows), [[0], [np.nan]])
    for shadow in (_categories(("x", True)), _categories(("", False))):
        with pytest.raises(InvalidRequestError):
            features_for(shadow, primary, rows)
    with pytest.raises(InvalidRequestError):
        features_for(primary, _categories(("xyz", True)), np.array([[np.nan]], np.float32))


def test_classes_agree_by_name() -> None:
    """The same label is agreement, whatever index each model gives it."""
    one = Outputs(class_index=np.array([0, 1, 1]))
    other = Outputs(class_index=np.array([1, 0, 1]))
    assert agreeing_rows(one, ("no", "yes"), other, ("yes", "no")) == 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(-0.5, 0.5))
def test_values_agree_within_the_tolerance(values: list[float], change: float) -> None:
    """Values that differ by more than one percent of the larger do not agree; equal ones always do."""
    ours = np.array(values)
    theirs = ours * (1 + change)
    limit = REGRESSION_TOLERANCE_RATIO * np.maximum(np.abs(ours), np.abs(theirs))
    expected = int((np.abs(ours - theirs) <= limit).sum())
    assert agreeing_rows(Outputs(values=ours), (), Outputs(values=theirs), ()) == expected
    assert agreeing_rows(Outputs(values=ours), (), Outputs(values=ours), ()) == len(values)
