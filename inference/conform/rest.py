"""Points of the protocol's REST form, over HTTP; asked for when the command line names a URL."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import httpx

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import UNKNOWN_MODEL, Subject
from inference.conform.tensors import DATATYPES, Tensor, outputs_of, raw_of

__all__ = ["POINTS"]

#: Largest difference between the same number as decimal text and as a 32-bit float.
_TOLERANCE: Final = 1e-6


class _Answer(NamedTuple):
    status: int
    content: Any

    @property
    def text(self) -> str:
        return (
            f"{self.status}: {json.dumps(self.content)[:160]}"
            if self.content is not None
            else str(self.status)
        )


def _ask(subject: Subject, method: str, path: str, **options: Any) -> _Answer:  # noqa: ANN401  # httpx's own
    assert subject.http is not None
    try:
        reply = subject.http.request(method, path, headers=dict(subject.target.headers()), **options)
    except httpx.HTTPError as error:
        return _Answer(0, f"{type(error).__name__}: {error}")
    try:
        return _Answer(reply.status_code, reply.json())
    except ValueError:
        return _Answer(reply.status_code, None)


def _model_path(subject: Subject, name: str = "", ending: str = "") -> str:
    version = f"/versions/{subject.version}" if subject.version and not name else ""
    return f"/v2/models/{name or subject.model}{version}{ending}"


def _body(tensors: Sequence[Tensor]) -> dict[str, Any]:
    return {"inputs": [_input(tensor) for tensor in tensors]}


def _input(tensor: Tensor) -> dict[str, Any]:
    data = [each.decode() if isinstance(each, bytes) else each for each in tensor.elements]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}


def _infer(subject: Subject, body: Any, name: str = "") -> _Answer:  # noqa: ANN401  # any JSON
    return _ask(subject, "POST", _model_path(subject, name, "/infer"), json=body)


def _answers_200(method: str, path: Callable[[Subject], str]) -> Callable[[Subject], Observation]:
    def check(subject: Subject) -> Observation:
        answer = _ask(subject, method, path(subject))
        return judged(answer.status == 200, f"{method} {path(subject)}", "200", answer.text)

    return check


def _metadata(subject: Subject) -> Observation:
    path = _model_path(subject)
    answer = _ask(subject, "GET", path)
    expected = "the inputs and outputs that gRPC tells"
    if answer.status != 200 or not isinstance(answer.content, dict):
        return judged(False, f"GET {path}", expected, answer.text)
    wanted = [_described(subject.metadata.inputs), _described(subject.metadata.outputs)]
    found = [answer.content.get("inputs"), answer.content.get("outputs")]
    trimmed = [
        [{key: each.get(key) for key in ("name", "datatype", "shape")} for each in tensors or []]
        for tensors in found
    ]
    return judged(trimmed == wanted, f"GET {path}", expected, answer.text)


def _described(tensors: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]


def _same(subject: Subject) -> Observation:
    answer = _infer(subject, _body(subject.inputs()))
    expected = "the outputs that gRPC gives"
    reply = subject.infer(subject.request())
    if answer.status != 200 or not reply.ok:
        return judged(False, "POST infer", expected, answer.text if answer.status != 200 else reply.text)
    wanted = outputs_of(reply.message)
    found = {each["name"]: each for each in answer.content["outputs"]}
    differing = [each.name for each in wanted if not _equal(each, found.get(each.name))]
    return judged(
        not differing, "POST infer", expected, f"{', '.join(differing)} differ" if differing else "the same"
    )


def _equal(wanted: Tensor, found: Any) -> bool:  # noqa: ANN401  # any JSON
    if not isinstance(found, dict) or list(found.get("shape", ())) != list(wanted.shape):
        return False
    data: list[Any] = [each.encode() if isinstance(each, str) else each for each in _flat(found.get("data"))]
    return len(data) == len(wanted.elements) and all(
        math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) if isinstance(b, float) else a == b
        for a, b in zip(data, wanted.elements, strict=True)
    )


def _flat(data: Any) -> list[Any]:  # noqa: ANN401  # any JSON
    return [deep for each in data for deep in _flat(each)] if isinstance(data, list) else [data]


def _repeats_id(subject: Subject) -> Observation:
    answer = _infer(subject, {"id": "conform-4711", **_body(subject.inputs())})
    found = answer.content.get("id") if isinstance(answer.content, dict) else None
    return judged(found == "conform-4711", "POST infer, id 'conform-4711'", "the same id", answer.text)


def _select(subject: Subject) -> Observation:
    name = subject.metadata.outputs[-1].name
    answer = _infer(subject, {**_body(subject.inputs()), "outputs": [{"name": name}]})
    if answer.status != 200:
        return judged(False, f"POST infer, outputs [{name!r}]", f"[{name!r}]", answer.text)
    found = [each["name"] for each in answer.content["outputs"]]
    return judged(found == [name], f"POST infer, outputs [{name!r}]", f"[{name!r}]", str(found))


def _binary(subject: Subject) -> Observation:
    if not all(DATATYPES[each.datatype][1] or each.datatype == "BYTES" for each in subject.metadata.inputs):
        return skipped("an input has a datatype without binary form")
    inputs, parts = subject.inputs(), [raw_of(tensor) for tensor in subject.inputs()]
    described = [
        {**_input(tensor), "parameters": {"binary_data_size": len(part)}}
        for tensor, part in zip(inputs, parts, strict=True)
    ]
    for each in described:
        del each["data"]
    header = json.dumps({"inputs": described}).encode()
    assert subject.http is not None
    headers = {**dict(subject.target.headers()), "inference-header-content-length": str(len(header))}
    try:
        reply = subject.http.post(
            _model_path(subject, ending="/infer"), content=header + b"".join(parts), headers=headers
        )
    except httpx.HTTPError as error:
        return judged(False, "POST infer, binary", "200", str(error))
    return judged(
        reply.status_code == 200, "POST infer, binary", "200", f"{reply.status_code}: {reply.text[:160]}"
    )


def _refused(make: Callable[[Subject], Any], sent: str) -> Callable[[Subject], Observation]:
    def check(subject: Subject) -> Observation:
        answer = _infer(subject, make(subject))
        told = answer.content.get("error") if isinstance(answer.content, dict) else None
        kept = answer.status == 400 and isinstance(told, str) and bool(told)  # Triton's client fails on more
        return judged(kept, f"POST infer, {sent}", '400 and {"error": "some text"}', answer.text)

    return check


def _wrong_datatype(subject: Subject) -> dict[str, Any]:
    body = _body(subject.inputs())
    body["inputs"][0]["datatype"] = "FP31"
    return body


def _too_few(subject: Subject) -> dict[str, Any]:
    body = _body(subject.inputs())
    body["inputs"][0]["data"].pop()
    return body


def _unknown_model(subject: Subject) -> Observation:
    answer = _infer(subject, _body(subject.inputs()), UNKNOWN_MODEL)
    # Where the model that is there is not found either, 404 says nothing.
    known = _ask(subject, "GET", _model_path(subject)).status == 200
    return judged(known and answer.status == 404, f"POST infer of {UNKNOWN_MODEL}", "404", answer.text)


POINTS: Final = (
    Point("rest.live", "GET v2/health/live is 200", True, _answers_200("GET", lambda _: "/v2/health/live")),
    Point(
        "rest.ready", "GET v2/health/ready is 200", True, _answers_200("GET", lambda _: "/v2/health/ready")
    ),
    Point("rest.server", "GET v2 describes the server", True, _answers_200("GET", lambda _: "/v2")),
    Point(
        "rest.model.ready",
        "The model is ready",
        True,
        _answers_200("GET", lambda s: _model_path(s, "", "/ready")),
    ),
    Point("rest.model", "The metadata are those of gRPC", True, _metadata),
    Point("rest.infer", "JSON gives the outputs that gRPC gives", True, _same),
    Point("rest.id", "The response repeats the id", True, _repeats_id),
    Point("rest.selection", "Only outputs that were asked for come back", True, _select),
    Point("rest.binary", "The binary extension is understood", False, _binary),
    Point(
        "rest.errors.datatype",
        "An unknown datatype is 400",
        True,
        _refused(_wrong_datatype, "datatype 'FP31'"),
    ),
    Point(
        "rest.errors.elements",
        "Fewer elements than the shape has are 400",
        True,
        _refused(_too_few, "one too few"),
    ),
    Point("rest.errors.no_input", "A request without inputs is 400", True, _refused(lambda _: {}, "{}")),
    Point("rest.errors.json", "JSON that is no object is 400", True, _refused(lambda _: [1], "[1]")),
    Point("rest.errors.model", "An unknown model is 404", True, _unknown_model),
)
