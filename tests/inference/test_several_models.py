"""One server with several models of a real registry."""

import time
from collections.abc import Callable

import grpc
import pytest

from inference.client import PredictionClient
from protos.inference.v1 import inference_pb2 as pb
from tests.inference.model_registry import ModelRegistry

ROW = [5.1, 3.5, 1.4, 0.2]
REQUEST = {"rows": [ROW]}

pytestmark = pytest.mark.slow


@pytest.fixture
def serve(make_service: Callable[..., object], registry: ModelRegistry) -> Callable[..., object]:
    """Start a server of this registry; options are settings."""
    return lambda **options: make_service(**{**registry.settings, **options})


def _answer(running: object, name: str = "", version: str = "") -> tuple[str, str]:
    row = pb.Row(values=ROW)
    answer = running.stub.Predict(pb.PredictRequest(rows=[row], model_name=name, model_version=version))
    return answer.model_name, answer.model_version


def test_requests_choose_by_name_and_version(serve: Callable[..., object]) -> None:
    """Two models and two versions of one: each is reached over both protocols, and the champion is the default."""
    running = serve(model_uris=("models:/price@champion", "models:/iris@challenger", "models:/iris@champion"))
    assert _answer(running) == ("price", "1")
    for name, version, expected in (
        ("price", "", "1"),
        ("iris", "", "1"),
        ("iris", "champion", "1"),
        ("iris", "challenger", "2"),
        ("iris", "2", "2"),
    ):
        assert _answer(running, name, version) == (name, expected)
        body = {**REQUEST, "model_name": name, "model_version": version}
        reply = running.http.post("/predict", json=body)
        assert reply.json()["model_version"] == reply.headers["x-model-version"] == expected
    with pytest.raises(grpc.RpcError) as caught:
        _answer(running, "iris", "3")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "price version 1, iris version 2, iris version 1" in caught.value.details()
    health = running.http.get("/health").json()
    assert [model["model"]["version"] for model in health["models"]] == ["1", "2", "1"]
    infos = [line for line in running.metrics() if line.startswith("ml_model_info{")]
    assert len(infos) == 3


def test_the_answers_are_those_of_the_model_that_was_asked(serve: Callable[..., object]) -> None:
    """A regression answers with values, a classification with labels, each counted by its own labels."""
    running = serve(model_uris=("models:/iris@champion", "models:/price@champion"))
    row = pb.Row(values=ROW)
    price = running.stub.Predict(pb.PredictRequest(rows=[row], model_name="price"))
    iris = running.stub.Predict(pb.PredictRequest(rows=[row], model_name="iris"))
    assert price.predictions[0].HasField("value")
    assert not price.predictions[0].label
    assert iris.predictions[0].label == "setosa"
    events = running.events(2)
    assert len(events) == 2


def test_readiness_waits_for_every_model(serve: Callable[..., object]) -> None:
    """A server one of whose models cannot be loaded does not become ready, and says which."""
    running = serve(load=False, model_uris=("models:/iris@champion", "models:/iris/99"))
    with pytest.raises(Exception, match="no version 99"):
        running.service.load()
    assert running.http.get("/health/ready").status_code == 503
    models = running.http.get("/health").json()["models"]
    assert [model["model"] is None for model in models] == [False, True]
    assert "no version 99" in models[1]["last_swap"]["error"]


def test_a_moved_alias_is_noticed_without_being_told(
    serve: Callable[..., object], registry: ModelRegistry
) -> None:
    """With automatic refresh the server follows the alias within a few looks, and the other models stay."""
    running = serve(
        model_uris=("models:/iris@champion", "models:/price@champion"), model_auto_refresh_seconds=0.2
    )
    price = running.http.get("/health").json()["models"][1]["model"]
    with PredictionClient(running.address) as client:
        assert client.predict([ROW]).model_version == "1"
        registry.alias("iris", "champion", "3")
        try:
            deadline = time.monotonic() + 60
            while client.predict([ROW]).model_version != "3":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            registry.alias("iris", "champion", "1")
        health = running.http.get("/health").json()
        assert health["models"][1]["model"] == price
        assert health["previous_model"]["version"] == "1"


def test_a_reload_by_uri_finds_its_model(serve: Callable[..., object]) -> None:
    """A version goes to the slot of its model; a model that is not served has no natural slot."""
    running = serve(
        model_uris=("models:/iris@champion", "models:/price@champion"),
        admin_api_token="t",
        shutdown_grace_seconds=2.0,
    )
    token = {"x-admin-token": "t"}
    reply = running.http.post(
        "/admin/reload", json={"model_uri": "models:/iris/2"}, headers=token, timeout=60
    )
    assert reply.json()["outcome"] == "swapped"
    assert (_answer(running), _answer(running, "price")) == (("iris", "2"), ("price", "1"))
    reply = running.http.post(
        "/admin/reload", json={"model_uri": "models:/beer/1"}, headers=token, timeout=60
    )
    assert reply.status_code == 400
    assert "iris, price" in reply.json()["error"]["message"]


def test_another_registered_model_is_loaded_and_unloaded(serve: Callable[..., object]) -> None:
    """A model that was not configured is served after a load by its name, and unknown again after an unload."""
    running = serve(model_uri="models:/iris@champion")
    running.service.roster.load("price")
    assert _answer(running, "price") == ("price", "1")
    assert _answer(running) == ("iris", "1")
    running.service.roster.unload("price")
    with pytest.raises(grpc.RpcError):
        _answer(running, "price")
    with pytest.raises(Exception, match="beer"):
        running.service.roster.load("beer")
    assert [entry.name for entry in running.service.roster.index()] == ["iris", "price"]
    assert running.http.get("/health/ready").status_code == 200
