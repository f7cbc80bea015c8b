"""What the server says of a model of texts, numbers and missing values: page, examples, OpenAPI."""

import re
import shlex
from html import unescape
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format

from inference.client import PredictionClient
from protos.inference.v1.inference_pb2 import PredictRequest
from tests.inference.mixed_models import NAMES, ROWS

ROW = dict(zip(NAMES, ROWS[0], strict=True))


def words_of(page: str, name: str) -> list[str]:
    found = re.search(rf'<pre id="code-{name}">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    return shlex.split(unescape(found[1]).replace("\\\n", " "))


@pytest.fixture(scope="module")
def page(mixed: object) -> str:
    reply = mixed.http.get("/docs/churn")
    assert reply.status_code == 200
    return reply.text


def test_the_page_lists_the_categories(page: str) -> None:
    """Each feature with its type, its texts and whether it may be missing, and fields to choose from."""
    for text in (
        "category: basic, plus, zażółć; an unknown text counts as missing; may be missing",
        "category: north, south, 1",
        "float; may be missing",
        '<option value="&quot;1&quot;">1</option>',
        '<option value="null">(missing)</option>',
        '<option value="&quot;basic&quot;" selected>basic</option>',
    ):
        assert text in page
    assert re.search(r'<input data-feature="age" type="number" step="any" value="31.5">', page)
    assert re.search(r'<input data-feature="visits" type="number" step="any" required value="14">', page)


def test_examples_can_be_copied(mixed: object, page: str) -> None:
    """curl, grpcurl and Python ask a golden row in the words of the table, and are answered as it says."""
    golden = mixed.service.plane.serving.bundle.manifest.golden_rows[0]
    words = words_of(page, "curl")
    reply = httpx.post(words[1], content=words[words.index("-d") + 1])
    assert reply.json()["predictions"][0]["class_index"] == golden.class_index
    words = words_of(page, "grpcurl")
    request = json_format.Parse(words[words.index("-d") + 1], PredictRequest())
    assert list(request.rows[0].cells) == list(ROW.values())
    assert mixed.stub.Predict(request).predictions[0].class_index == golden.class_index
    found = re.search(r'<pre id="code-python">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    row = re.search(r"row = (\{.*?\})\n", unescape(found[1]), re.DOTALL)
    assert row is not None
    assert eval(row[1]) == ROW  # noqa: S307  # the example itself
    with PredictionClient(mixed.address) as client:
        assert client.predict([ROW]).labels


def test_openapi_knows_the_categories(mixed: object) -> None:
    """The schema of a row says which texts, and where null may be; the example of the protocol is answered."""
    document = mixed.http.get("/openapi.json").json()
    named, listed = document["components"]["schemas"]["Row0"]["anyOf"]
    assert named["properties"] == {
        "plan": {"type": ["string", "null"], "examples": ["basic", "plus", "zażółć"]},
        "region": {"enum": ["north", "south", "1"]},
        "age": {"type": ["number", "null"]},
        "visits": {"type": "integer"},
    }
    assert listed["prefixItems"] == [*named["properties"].values()]
    (example,) = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ].values()
    assert example["value"] == {"rows": [ROW]}
    asked = document["paths"]["/v2/models/churn/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert [each["datatype"] for each in asked["example"]["inputs"]] == ["BYTES", "BYTES", "FP32", "INT64"]
    for path, body in (("/predict", example["value"]), ("/v2/models/churn/infer", asked["example"])):
        assert mixed.http.post(path, json=body).status_code == 200


def test_names_of_categories_stay_in_their_place(
    mixed_bundle: Path, make_service: object, tmp_path: Path
) -> None:
    """A category is anybody's text: nothing of it becomes a part of the page, and the server takes it as it is."""
    hostile = '</select><script>alert("1")</script>\0\u2028'
    bundle = tmp_path / "bundles" / "hostile"
    bundle.mkdir(parents=True)
    for file in mixed_bundle.iterdir():
        text = file.read_bytes()
        if file.name == "manifest.json":
            escaped = hostile.replace('"', '\\"').replace("\0", "\\u0000").replace("\u2028", "\\u2028")
            text = text.replace(b'"north"', f'"{escaped}"'.encode())
        (bundle / file.name).write_bytes(text)
    running = make_service(bundle)
    page = running.http.get("/docs/churn").text
    assert "<script>alert" not in page
    assert page.count("<select") == page.count("</select>") == 2
    reply = running.http.post("/predict", json={"rows": [["basic", hostile, 1, 1]]})
    assert reply.status_code == 200
    words = words_of(page, "curl")
    assert httpx.post(words[1], content=words[words.index("-d") + 1]).status_code == 200
