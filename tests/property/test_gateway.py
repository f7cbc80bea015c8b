"""HTTP, fed with anything: a status below 500, and a server that goes on."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property import wire
from tests.property.effort import serving
from tests.property.server import TOKEN, Server

_GOOD = b'{"rows": [[1, 2, 3, 4]]}'
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_tokens = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
_lines = st.tuples(
    _tokens
    | st.sampled_from(
        [
            *(b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade", b"content-type"),
            *(b"x-request-id", b"traceparent", b"authorization", b"x-shadow-request", b"host", b"accept"),
        ]
    ),
    st.binary(max_size=40)
    | st.sampled_from(
        [b"chunked", b"identity", b"0", b"-1", b"24", b"25", b"1e3", b"9" * 30, b"9" * 5000, b"close"]
    )
    | st.sampled_from([b"100-continue", b"websocket", b"h2c", b"\xb2\xb3", "٣".encode(), b"true"]),
)
_methods = (
    st.sampled_from([b"POST", b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE"]) | _tokens
)
#: Not those of /admin: wrong tokens would have the right one of another test refused for a minute.
_known_paths = st.sampled_from(
    [
        *(
            b"/predict",
            b"/predict",
            b"/predict/",
            b"/metrics",
            b"/health",
            b"/admin",
            b"/v2",
            b"/v2/health/ready",
        ),
        *(b"/v2/models/iris/infer", b"/v2/models/%00/ready", b"/docs", b"//", b"/%00"),
    ]
)
_paths = (
    _known_paths
    | st.sampled_from([b"*", b"http://x/predict"])
    | st.binary(max_size=30).map(lambda path: b"/" + path.replace(b" ", b""))
)
_known_headers = st.sampled_from(
    [b"x-request-id", b"traceparent", b"authorization", b"x-shadow-request", b"accept", b"content-type"]
)
_chunks = st.lists(st.binary(max_size=20), max_size=4).map(
    lambda parts: b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
)
#: What a header may hold, in the encoding that httpx sends.
_LATIN = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
_bodies = st.just(_GOOD) | wire.json_bodies | wire.any_bytes | _chunks


def _request(method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    return b"%s %s HTTP/1.1\r\nhost: a\r\n%s\r\n%s" % (method, path, head, body)


def _sound(method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    return _request(method, path, [*headers, (b"content-length", b"%d" % len(body))], body)


#: What any parser of HTTP takes, so that our own code sees it.
_sound_requests = st.builds(
    _sound,
    st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS"]),
    _known_paths,
    st.lists(st.tuples(_known_headers, st.text(_LATIN, max_size=40).map(str.encode)), max_size=4),
    _bodies,
)
_odd_requests = st.builds(_request, _methods, _paths, st.lists(_lines, max_size=6), _bodies)


@serving
@given(wire.json_bodies | wire.mutated(wire.json_bodies) | wire.any_bytes)
def test_predict_takes_any_body(server: Server, body: bytes) -> None:
    """Any text gets an answer or a refusal that says what to change."""
    assert server.post("/predict", body) in {200, 400, 404, 413}


@serving
@given(_sound_requests | _odd_requests)
def test_any_request_gets_a_status_below_500(server: Server, request_bytes: bytes) -> None:
    """Odd methods, paths and headers, lengths that lie and chunks that are none get no 5xx."""
    answer = server.exchange(request_bytes)
    assert all(int(status) < 500 for status in _STATUS.findall(answer)), answer


@serving
@given(st.binary(max_size=300))
def test_bytes_that_are_no_http_get_a_status_or_the_door(server: Server, data: bytes) -> None:
    """Any bytes on the port are answered with 4xx, or the connection ends."""
    assert all(int(status) < 500 for status in _STATUS.findall(server.exchange(data)))


@serving
@given(st.integers(-5, 300_000), st.booleans())
def test_a_length_may_lie(server: Server, announced: int, chunked: bool) -> None:
    """A body shorter or longer than announced, or announced twice, is refused or read as announced."""
    length = b"content-length: %d\r\n" % announced
    head = (
        b"POST /predict HTTP/1.1\r\nhost: a\r\n"
        + length
        + (b"transfer-encoding: chunked\r\n" if chunked else b"")
    )
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_GOOD), _GOOD) if chunked else _GOOD
    answer = server.exchange(head + b"\r\n" + body)
    assert all(int(status) < 500 for status in _STATUS.findall(answer)), answer


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused(server: Server, chunked: bool) -> None:
    """More bytes than are taken get 413, whether their number is announced or not."""
    body = b" " * 1_000_000
    content = iter([body[:100_000]] * 10) if chunked else body
    assert server.post("/predict", content) == 413


@pytest.mark.parametrize("text", ["a" * 100_000, "\n" * 10_000, "é" * 50_000])
def test_long_texts_are_not_sent_back(server: Server, text: str) -> None:
    """A caller's own text, however long and wherever it stands, is quoted a little and no more."""
    for body, status in (
        ({"rows": [[1, 2, 3, 4]], "model_name": text}, 404),
        ({"rows": [[1, 2, 3, 4]], "model_version": text}, 404),
        ({"rows": [[1, 2, 3, 4]], text: 1}, 400),
        ({"rows": [[text, text, text, text]] * 5}, 400),
        ({"rows": [{text: None, "a": "x", "b": "x", "c": "x"}] * 2}, 400),
        ({"rows": [{text: 1, "a": "x", "b": "x", "c": "x"}]}, 400),
        ({"rows": [{"a": 1}, {text: 1}]}, 400),
        ({"rows": [[1e39, 2, 3, 4]] * 30, "feature_names": [text, "b", "c", "d"]}, 400),
        ({"rows": [[1, 2, 3, 4]], "feature_names": [text] * 2}, 400),
    ):
        data = json.dumps(body, ensure_ascii=False).encode()
        assert server.post("/predict", data) == (status if len(data) <= 256 * 1024 else 413), str(body)[:80]


@serving
@given(
    wire.json_bodies
    | wire.any_bytes
    | st.text(max_size=20).map(lambda t: json.dumps({"model_uri": t}).encode())
)
def test_reload_takes_any_body(server: Server, body: bytes) -> None:
    """A reload names a model URI or nothing; any other body gets a refusal."""
    assert server.post("/admin/reload", body, {"x-admin-token": TOKEN}) in {200, 400, 404, 413, 422}


@pytest.fixture(scope="module")
def infer_offered(one_server: Server) -> None:
    """Skip where the server does not offer the Open Inference Protocol."""
    if b" 404 " in one_server.exchange(
        b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    ):
        pytest.skip("this server has no /v2/health/live")


@pytest.mark.usefixtures("infer_offered")
@serving
@given(wire.infer_bodies | wire.mutated(wire.infer_bodies) | wire.json_bodies | wire.any_bytes)
def test_infer_takes_any_body(server: Server, body: bytes) -> None:
    """Any text for a model of the Open Inference Protocol gets an answer or a refusal."""
    assert server.post("/v2/models/iris/infer", body) in {200, 400, 404, 413}


@pytest.mark.usefixtures("infer_offered")
@serving
@given(
    wire.infer_bodies | wire.any_bytes,
    st.binary(max_size=64),
    st.integers(-5, 500).map(str) | st.text(_LATIN, max_size=9),
)
def test_infer_takes_any_header_length(server: Server, header: bytes, binary: bytes, length: str) -> None:
    """The length of the JSON part before binary data may lie, or be no number."""
    headers = {"inference-header-content-length": length.strip()}
    assert server.post("/v2/models/iris/infer", header + binary, headers) in {200, 400, 404, 413}
