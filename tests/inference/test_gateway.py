"""The HTTP gateway, over a real server."""

import json
import os
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.client import PredictionClient
from protos.inference.v1.inference_pb2 import PredictResponse

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROW = [5.1, 3.5, 1.4, 0.2]
TOKEN = "a-token"


def _violations(reply: httpx.Response) -> dict[str, str]:
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    return {violation["field"]: violation["description"] for violation in error["violations"]}


@pytest.mark.parametrize("path", ["/predict", "/predict/"])
@pytest.mark.parametrize(
    "body",
    [
        {"rows": [ROW]},
        {"rows": [{"values": ROW}]},
        {"rows": [[0.2, 5.1, 3.5, 1.4]], "feature_names": ["petal_width", *NAMES[:3]]},
        {"rows": [[0.2, 5.1, 3.5, 1.4]], "featureNames": ["petal_width", *NAMES[:3]]},
        {"rows": [dict(zip(NAMES, ROW, strict=True))]},
        {"rows": [dict(zip(reversed(NAMES), reversed(ROW), strict=True))], "model_name": "iris"},
    ],
)
def test_every_form_of_rows_gets_the_same_answer(running: object, path: str, body: object) -> None:
    """Lists, messages, named columns and objects are forms of the same request; the answer is proto JSON."""
    reply = running.http.post(path, json=body)
    assert reply.status_code == 200
    response = json_format.Parse(reply.text, PredictResponse())
    with PredictionClient(running.address) as client:
        expected = client.predict([ROW])
    assert [p.label for p in response.predictions] == list(expected.labels)
    assert list(response.predictions[0].probabilities) == pytest.approx(expected.probabilities[0], abs=1e-6)
    assert reply.json()["predictions"][0]["class_index"] == 0
    assert response.model_digest == expected.model_digest
    assert reply.headers["x-model-version"] == "local"


def test_the_request_id_comes_back(running: object) -> None:
    """The caller's own identifier is in the reply, also of an error."""
    for body in ({"rows": [ROW]}, {"rows": []}):
        reply = running.http.post("/predict", json=body, headers={"X-Request-ID": "abc"})
        assert reply.headers["x-request-id"] == "abc"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "rows"),
        (b'{"rows": []}', "rows"),
        (b'{"rows": 3}', "rows"),
        (b'{"rows": [[1, 2, 3]]}', "rows[0]"),
        (b'{"rows": [[1, 2, 3, true]]}', "rows[0].values[3]"),
        (b'{"rows": [[1, 2, 3, "4"]]}', "rows[0].values[3]"),
        (b'{"rows": [[1, 2, 3, 1e39]]}', "rows[0].values[3]"),
        (b'{"rows": [[1, 2, 3, NaN]]}', "body"),
        (b'{"rows": [[1, 2, 3, 4], {"values": [1]}]}', "rows"),
        (b'{"rows": [{"sepal_length": 1}]}', "feature_names"),
        (b'{"rows": [{"values": 1}]}', "rows[0].values"),
        (b'{"rows": [[1, 2, 3, 4]], "feature_names": "x"}', "feature_names"),
        (b'{"rows": [[1, 2, 3, 4]], "feature_names": [1]}', "feature_names[0]"),
        (b'{"rows": [[1, 2, 3, 4]], "model_name": 1}', "model_name"),
        (b'{"rows": [[1, 2, 3, 4]], "nonsense": 1}', "nonsense"),
        (b'\xff{"rows": []}', "body"),
    ],
)
def test_mistakes_are_named(running: object, body: bytes, place: str) -> None:
    """A bad body is told where it is wrong."""
    assert place in _violations(running.http.post("/predict", content=body))


@pytest.mark.parametrize(
    ("body", "place", "sentence"),
    [
        (
            {"rows": [{"values": ROW, "cells": ROW}] * 2},
            "rows[1]",
            "found values and cells, expected one of them",
        ),
        (
            {"rows": [ROW], "modelName": "iris", "model_name": "iris"},
            "modelName",
            "found it beside model_name, expected one of them",
        ),
    ],
)
def test_two_forms_of_one_thing_are_refused(running: object, body: object, place: str, sentence: str) -> None:
    """Of two forms of the same rows or field none is silently preferred."""
    assert _violations(running.http.post("/predict", json=body))[place] == sentence


@pytest.mark.parametrize("path", ["/predict", "/v2/models/iris/infer"])
def test_encoded_bodies_are_refused_as_such(running: object, path: str) -> None:
    """Both ways to ask say that a body is taken as it is, and do not call it broken JSON."""
    reply = running.http.post(path, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert reply.status_code == 400
    assert "Content-Encoding found 'gzip'" in reply.text.replace(": found", " found")


def test_objects_name_the_same_features(running: object) -> None:
    """Rows that are objects must have the same keys; the row that differs is named."""
    first = dict(zip(NAMES, ROW, strict=True))
    second = {**dict.fromkeys(NAMES[:3], 1), "petal_colour": 1}
    found = _violations(running.http.post("/predict", json={"rows": [first, second]}))
    assert found == {"rows[1]": "names other features than rows[0]: misses petal_width and has petal_colour"}
    third = {**first, "petal_width": None}
    found = _violations(running.http.post("/predict", json={"rows": [third]}))
    assert found == {"rows[0].petal_width": "found null, expected a number"}


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["values", *NAMES]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"rows": st.lists(_json, max_size=4) | _json}, optional={"feature_names": _json, "model_name": _json}
    )
    | _json
)
def test_no_json_is_a_defect(running: object, body: object) -> None:
    """Whatever JSON says, it is answered or refused for a reason that the caller can act on."""
    reply = running.http.post("/predict", content=json.dumps(body).encode())
    assert reply.status_code in (200, 400, 404)
    assert reply.status_code == 200 or reply.json()["error"]["message"]


def test_other_errors_have_their_status(make_service: object) -> None:
    """Unknown model 404, too many rows or bytes 413, no model 503, all in the same shape."""
    running = make_service(max_rows_per_request=2, grpc_max_message_bytes=1024, load=False)
    post = running.http.post
    assert post("/predict", json={"rows": [ROW]}).status_code == 503
    running.service.load()
    replies = [
        (post("/predict", json={"rows": [ROW], "model_name": "wine"}), 404, "NOT_FOUND"),
        (post("/predict", json={"rows": [ROW] * 3}), 413, "RESOURCE_EXHAUSTED"),
        (post("/predict", content=b" " * 1025), 413, "RESOURCE_EXHAUSTED"),
        (post("/predict", content=iter([b" " * 600] * 2)), 413, "RESOURCE_EXHAUSTED"),
        (running.http.get("/nothing"), 404, "NOT_FOUND"),
        (running.http.get("/predict"), 405, "UNIMPLEMENTED"),
        (running.http.delete("/health"), 405, "UNIMPLEMENTED"),
    ]
    for reply, status, code in replies:
        assert reply.status_code == status
        error = reply.json()["error"]
        assert (error["code"], error["violations"]) == (code, [])
        assert error["message"]
    assert post("/predict", json={"rows": [ROW]}).status_code == 200


def test_health_tells_everything_but_secrets(make_service: object, bundle: Path) -> None:
    """/health has model, metrics, registry and last swap; 503 before the model and while draining."""
    running = make_service(load=False, admin_api_token=TOKEN)
    before = running.http.get("/health")
    assert (before.status_code, before.json()["status"], before.json()["model"]) == (503, "not_ready", None)
    assert running.http.get("/health/live").status_code == 200
    assert running.http.get("/health/ready/").status_code == 503
    running.service.load()
    ready = running.http.get("/health/")
    content = ready.json()
    assert (ready.status_code, content["status"], content["track"]) == (200, "ready", "stable")
    model = content["model"]
    assert set(model) == {"name", "version", "digest", "runtime", "generation", "loaded_at", "task"}
    assert (model["name"], model["runtime"], model["generation"], model["task"]) == (
        "iris",
        "onnx",
        1,
        "classification",
    )
    assert content["metrics"] == json.loads((bundle / "metrics.json").read_text())
    assert content["registry"]["last_error"] == ""
    assert content["registry"]["last_verified_at"]
    assert content["last_swap"]["outcome"] == "swapped"
    assert content["uptime_seconds"] > 0
    assert TOKEN not in ready.text
    head = running.http.head("/health")
    assert (head.status_code, head.content) == (200, b"")
    running.service.drain()
    assert running.http.get("/health/ready").status_code == 503
    assert running.http.get("/health/live").status_code == 200
    assert running.http.post("/predict", json={"rows": [ROW]}).status_code == 200


def test_admin_is_off_without_a_token(running: object) -> None:
    """Without ADMIN_API_TOKEN nobody may, whatever is shown."""
    for path in ("/admin/reload", "/admin/rollback/"):
        reply = running.http.post(path, headers={"X-Admin-Token": ""})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "PERMISSION_DENIED")
        assert running.http.get(path).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Admin-Token": "wrong"}, 401),
        ({"X-Admin-Token": "tökén".encode()}, 401),
        ({"Authorization": "Basic a-token"}, 401),
        ({"Authorization": "Bearer  a-token"}, 200),
        ({"Authorization": "bearer a-token"}, 200),
        ({"X-Admin-Token": "a-token"}, 200),
    ],
)
def test_admin_asks_for_the_token(make_service: object, headers: dict[str, str], status: int) -> None:
    """The token is taken from either header, and nothing else is."""
    running = make_service(admin_api_token=TOKEN)
    assert running.http.post("/admin/reload", headers=headers).status_code == status


def test_reload_and_rollback(make_service: object, make_bundle: object, tmp_path: Path) -> None:
    """A reload serves what is there now, a rollback what was there before; failures change nothing."""
    link = tmp_path / "model"
    link.symlink_to(make_bundle(seed=1))
    running = make_service(link, admin_api_token=TOKEN)
    headers = {"X-Admin-Token": TOKEN}
    first = running.http.get("/health").json()["model"]["digest"]

    def post(path: str, **options: object) -> httpx.Response:
        return running.http.post(path, headers=headers, **options)

    assert post("/admin/rollback").status_code == 409
    assert post("/admin/reload").json()["outcome"] == "unchanged"
    _point(link, make_bundle(seed=2))
    swapped = post("/admin/reload/").json()
    assert (swapped["outcome"], swapped["model"]["generation"]) == ("swapped", 2)
    assert swapped["previous_model"]["digest"] == first
    _point(link, tmp_path)
    refused = post("/admin/reload")
    assert refused.status_code == 422
    assert "manifest.json" in refused.json()["error"]["message"]
    health = running.http.get("/health").json()
    assert (health["status"], health["last_swap"]["outcome"]) == ("ready", "failed")
    assert health["last_swap"]["error"] == refused.json()["error"]["message"]
    assert post("/admin/rollback").json()["model"]["digest"] == first
    metrics = running.metrics()
    assert [line for line in metrics if line.startswith("ml_model_info{")] == [
        f'ml_model_info{{digest="{first}",model="iris",runtime="onnx",track="stable",version="local"}} 1.0'
    ]
    for outcome, count in {"swapped": 2, "unchanged": 1, "failed": 1, "rolled_back": 1}.items():
        assert f'ml_model_swaps_total{{outcome="{outcome}"}} {count}.0' in metrics
    assert "ml_model_generation 3.0" in metrics


def _point(link: Path, target: Path) -> None:
    link.with_suffix(".new").symlink_to(target)
    os.replace(link.with_suffix(".new"), link)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"uri": "x"}',
        b'{"model_uri": 7}',
        b'{"model_uri": "iris"}',
        b'{"model_uri": "models:/a/1"}',
    ],
)
def test_reload_checks_its_body(make_service: object, body: bytes) -> None:
    """A body that is not one model URI is refused, and so is a URI where the model is a directory."""
    running = make_service(admin_api_token=TOKEN)
    reply = running.http.post("/admin/reload", headers={"X-Admin-Token": TOKEN}, content=body)
    assert _violations(reply)


def test_metrics_speak_both_formats(running: object) -> None:
    """Prometheus text by default, OpenMetrics for who asks."""
    plain = running.http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    asked = running.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
