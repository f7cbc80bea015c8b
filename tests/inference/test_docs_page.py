"""The pages about models: true to the model, safe with any text, and with examples that work."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from inference.gateway.docs import docs_routes
from inference.gateway.edge import Edge
from inference.gateway.examples import Addresses, Example, curl, grpcurl, python
from inference.tokens import TokenGuard
from protos.inference.v1 import manifest_pb2 as pb
from protos.inference.v1.inference_pb2 import PredictRequest
from telemetry import HttpServer

ROOT = Path(__file__).parents[2]
OPEN = TokenGuard(None, variable="PREDICT_API_TOKEN", required=False)
HOSTILE = ("<script>alert(1)</script>", 'it\'s "quoted"', "$(touch /tmp/x) `y`", "back\\slash and {{line}}")


Pages = Callable[..., httpx.Client]


@pytest.fixture
def pages() -> Iterator[Pages]:
    """Serve the pages alone; a client of them names the whole server as its host, as behind a proxy."""
    with ExitStack() as stack:

        def serve(running: object, guard: TokenGuard = OPEN, **headers: str) -> httpx.Client:
            plane, port = running.service.plane, running.service.grpc_port
            edge = Edge(running.service.metrics, plane.tracing)
            app = Starlette(routes=docs_routes(plane, edge, guard=guard, grpc_port=port))
            server = HttpServer(app, host="127.0.0.1", port=0, variable="HTTP_PORT")
            server.start()
            stack.callback(server.stop)
            host = running.http.base_url.netloc.decode()
            url = f"http://127.0.0.1:{server.port}"
            return stack.enter_context(httpx.Client(base_url=url, headers={"host": host, **headers}))

        yield serve


#: Every element that a page of ours has.
KNOWN_TAGS = frozenset(
    re.findall(
        r"\w+",
        "html head meta title style body main nav a h1 h2 h3 div span b table thead tbody tr th td code p "
        "form label input button section header pre script svg rect",
    )
)


def code(page: str, name: str) -> str:
    """Return one example of a page as a reader copies it."""
    found = re.search(rf'<pre id="code-{name}">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    return unescape(found[1])


@pytest.fixture(scope="session")
def hostile(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose names try to leave their place."""
    source, target = make_bundle(), tmp_path_factory.mktemp("bundles") / "hostile"
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json_format.Parse((source / "manifest.json").read_text(), pb.ModelManifest())
    manifest.name = "<b>iris</b>/\"'"
    for feature, name in zip(manifest.features, HOSTILE, strict=True):
        feature.name = name
    manifest.classes[:] = ["<i>setosa</i>", "versi&color", "</script><script>"]
    written = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (target / "manifest.json").write_text(written)
    return target


def test_page_describes_the_model(running: object, pages: Pages) -> None:
    """Features, classes, metrics, version and the digest of what serves are on the page."""
    reply = pages(running).get("/docs/iris")
    assert reply.status_code == 200
    for text in ("sepal_length", "petal_width", "virginica", "0.97", "onnx", "version <b>local</b>"):
        assert text in reply.text
    assert running.service.plane.serving.digest in reply.text


def test_page_brings_everything_itself(running: object, pages: Pages) -> None:
    """No page loads anything, and the policy forbids it: style and script are named by their digest."""
    for path in ("/docs", "/docs/", "/docs/iris", "/docs/iris/", "/docs/nothing"):
        reply = pages(running).get(path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"""(src|style)=|url\(|@import""", reply.text)
        assert "//" not in re.sub(r"http://127\.0\.0\.1:\d+/predict", "", reply.text)


def test_curl_example_works(running: object, pages: Pages) -> None:
    """The words that a shell makes of the curl example are a request that the server answers."""
    words = shlex.split(code(pages(running).get("/docs/iris").text, "curl").replace("\\\n", " "))
    assert words[0] == "curl"
    header, value = words[words.index("-H") + 1].split(": ")
    body = words[words.index("-d") + 1]
    reply = httpx.post(words[1], headers={header: value}, content=body)
    golden = running.service.plane.serving.bundle.manifest.golden_rows[0]
    assert reply.json()["predictions"][0]["class_index"] == golden.class_index


def test_grpcurl_example_is_a_request(running: object, pages: Pages) -> None:
    """The body of the grpcurl example is the JSON of a request that the server answers."""
    words = shlex.split(code(pages(running).get("/docs/iris").text, "grpcurl").replace("\\\n", " "))
    assert words[-2:] == [running.address, "inference.v1.InferenceService/Predict"]
    request = json_format.Parse(words[words.index("-d") + 1], PredictRequest())
    assert running.stub.Predict(request).predictions[0].label == "setosa"


def test_python_example_works(running: object, pages: Pages) -> None:
    """The Python example runs as it is copied."""
    script = code(pages(running).get("/docs/iris").text, "python")
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.stdout.startswith("('setosa',)"), shown.stderr


def test_any_name_stays_text(make_service: object, pages: Pages, hostile: Path) -> None:
    """Names of models, features and classes are shown as they are and become no markup."""
    running = make_service(hostile)
    client = pages(running)
    link = re.search(r'<td><a href="([^"]*)">', client.get("/docs").text)
    assert link is not None
    page = client.get(unescape(link[1])).text
    assert "<b>iris" not in page
    assert "<i>setosa" not in page
    assert page.count("<script>") == 1
    tags = _Tags()
    tags.feed(page)
    assert tags.found <= KNOWN_TAGS
    words = shlex.split(code(page, "curl").replace("\\\n", " "))
    reply = httpx.post(words[1], content=words[words.index("-d") + 1])
    assert reply.json()["predictions"][0]["label"] == "<i>setosa</i>"
    script = code(page, "python")
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.stdout.startswith("('<i>setosa</i>',)"), shown.stderr


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.found.add(tag)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(-1e30, 1e30))
def test_examples_quote_any_name(name: str, number: float) -> None:
    """A shell and Python read back exactly the names that went in."""
    example = Example({name: number}, {"model_name": name})
    addresses = Addresses("http://host:1", "host:2", tls=False, token=True)
    for command in (curl(example, addresses), grpcurl(example, addresses)):
        # Not `replace`: a name may hold a backslash and a line break itself, between quotes.
        lexer = shlex.shlex(command, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = [word for word in lexer if word != "\n"]
        assert json.loads(words[words.index("-d") + 1])["model_name"] == name
    script = python(example, addresses, classifies=True)
    compile(script, "example", "exec")
    (row,) = re.findall(r"^row = (\{\n.*?\n\})\nwith", script, re.DOTALL | re.MULTILINE)
    assert eval(row) == {name: number}  # noqa: S307 - our own


def test_a_wrong_host_header_is_not_repeated(running: object, pages: Pages) -> None:
    """The address in the examples is the caller's own, unless it is no address."""
    page = pages(running).get("/docs/iris", headers={"host": "x;rm -rf ~"}).text
    assert "rm -rf" not in page
    assert "http://localhost:8000/predict" in page
    assert "http://[::1]:80/predict" in unescape(
        pages(running).get("/docs/iris", headers={"host": "[::1]:80"}).text
    )


def test_unknown_model_is_404(running: object, pages: Pages) -> None:
    """A page of a model that is not there says what there is."""
    reply = pages(running).get("/docs/<b>wine")
    assert reply.status_code == 404
    assert "iris version local" in reply.text
    assert "<b>wine" not in reply.text
    assert pages(running).get("/docs/iris?version=9").status_code == 404


def test_no_model_yet(make_service: object, pages: Pages) -> None:
    """Before the first model the pages and the document answer, with what there is."""
    client = pages(make_service(load=False))
    assert "No model is loaded yet" in client.get("/docs").text
    assert client.get("/docs/iris").status_code == 503
    assert client.get("/openapi.json").json()["paths"]["/predict"]


def test_token_of_predictions_guards_the_pages(running: object, pages: Pages) -> None:
    """Who may not ask the model may not read about it; examples name the variable and never the token."""
    guard = TokenGuard("hidden", variable="PREDICT_API_TOKEN", required=False)
    for path in ("/docs", "/docs/iris", "/openapi.json"):
        assert pages(running, guard).get(path).status_code == 401
    page = pages(running, guard, authorization="Bearer hidden").get("/docs/iris").text
    assert "Bearer $PREDICT_API_TOKEN" in page
    assert "hidden" not in page.replace("hidden>Copy", "").replace('id="try" hidden', "").replace(
        "button.hidden", ""
    ).replace("form.hidden", "")


@pytest.mark.parametrize("options", [{}, {"regression": True}, {"integers": 2}])
def test_openapi_is_that_of_the_models(
    make_service: object, pages: Pages, make_bundle: Callable[..., Path], options: dict[str, object]
) -> None:
    """The document has the real features, classes and types, its references lead somewhere, its examples work."""
    running = make_service(make_bundle(**options))
    document = pages(running).get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for target in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)):
        assert target in schemas
    named, listed = schemas["Row0"]["anyOf"]
    assert list(named["properties"]) == list(running.service.plane.serving.signature.names)
    assert (listed["minItems"], listed["maxItems"]) == (4, 4)
    kinds = [kind["type"] for kind in named["properties"].values()]
    whole = int(options.get("integers", 0))
    assert kinds == ["integer"] * whole + ["number"] * (4 - whole)
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    reply = running.http.post("/predict", json=content["examples"]["model0"]["value"]).json()
    prediction = schemas["Response0"]["properties"]["predictions"]["items"]
    assert reply["predictions"][0].keys() == prediction["properties"].keys()
    shown = schemas["Response0"]["examples"][0]["predictions"][0]
    for key, value in reply["predictions"][0].items():
        assert shown[key] == pytest.approx(value, abs=1e-5)
    identifiers = [m["operationId"] for path in document["paths"].values() for m in path.values()]
    assert len(set(identifiers)) == len(identifiers)
