"""The points of the REST form, against an independent server of it beside the gRPC one."""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference.conform import Outcome, Verdict, examine
from inference.conform.subject import learn
from inference.conform.target import Target
from telemetry import HttpServer

WIDTH = 16


class SimpleRest:
    """The model `simple` over HTTP. `defects` names what it does wrong."""

    def __init__(self, *defects: str) -> None:
        self.defects = defects
        self.app = Starlette(
            routes=[
                Route("/v2/health/{what}", self.healthy),
                Route("/v2", self.healthy),
                Route("/v2/models/simple", self.described),
                Route("/v2/models/simple/ready", self.healthy),
                Route("/v2/models/simple/infer", self.infer, methods=["POST"]),
            ]
        )

    async def healthy(self, _request: Request) -> Response:
        return Response(status_code=503 if "sick" in self.defects else 200)

    async def described(self, _request: Request) -> Response:
        if "tensors_are_text" in self.defects:
            return JSONResponse({"name": "simple", "inputs": ["INPUT0"], "outputs": 7})
        datatype = "FP32" if "other_datatype" in self.defects else "INT32"

        def tensors(name: str) -> list[dict[str, Any]]:
            return [{"name": f"{name}{n}", "datatype": datatype, "shape": [1, WIDTH]} for n in range(2)]

        return JSONResponse({"name": "simple", "inputs": tensors("INPUT"), "outputs": tensors("OUTPUT")})

    async def infer(self, request: Request) -> Response:
        try:
            return JSONResponse(self.answer(await request.body(), request.headers))
        except (ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
            status = 500 if "crashes" in self.defects else 400
            told = str(error) or "wrong"
            return JSONResponse(
                {"error": {"message": told} if "deep_errors" in self.defects else told}, status
            )

    def answer(self, body: bytes, headers: Headers) -> dict[str, Any]:
        length = int(headers.get("inference-header-content-length", len(body)))
        asked, rest = json.loads(body[:length]), body[length:]
        left, right = [], []
        for numbers, given in zip((left, right), asked["inputs"], strict=True):
            if given["datatype"] != "INT32":
                raise ValueError("expected INT32")
            size = given.get("parameters", {}).get("binary_data_size")
            if size is not None and "no_binary" not in self.defects:
                numbers.extend(struct.unpack(f"<{WIDTH}i", rest[:size]))
                rest = rest[size:]
            else:
                numbers.extend(given["data"])
            if len(numbers) != WIDTH:
                raise ValueError(f"expected {WIDTH} numbers")
        sums = {
            "OUTPUT0": [a + b for a, b in zip(left, right, strict=True)],
            "OUTPUT1": [a - b - ("subtracts_more" in self.defects) for a, b in zip(left, right, strict=True)],
        }
        names = [output["name"] for output in asked.get("outputs", [])] or list(sums)
        if "all_outputs" in self.defects:
            names = list(sums)
        outputs = [{"name": n, "datatype": "INT32", "shape": [1, WIDTH], "data": sums[n]} for n in names]
        if "empty" in self.defects:
            return {}
        if "outputs_are_text" in self.defects:
            return {"outputs": names}
        return {"id": "" if "ignores_id" in self.defects else asked.get("id", ""), "outputs": outputs}


Examiner = Callable[..., dict[str, Verdict]]


@pytest.fixture
def examined(make_reference: Callable[..., str]) -> Iterator[Examiner]:
    """Examine the server with these defects over HTTP, and return the verdicts of the REST points."""
    with ExitStack() as stack:

        def run(*defects: str) -> dict[str, Verdict]:
            server = HttpServer(SimpleRest(*defects).app, host="127.0.0.1", port=0, variable="HTTP_PORT")
            server.start()
            stack.callback(server.stop)
            http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{server.port}"))
            target = stack.enter_context(Target(make_reference(), tls=None, timeout_seconds=5))
            verdicts = examine(learn(target, "simple", http=http))
            return {each.point.id: each for each in verdicts if each.point.id.startswith("rest.")}

        yield run


def test_sound_server_passes(examined: Examiner) -> None:
    """A sound server passes every point, the binary extension too."""
    verdicts = examined()
    assert verdicts
    assert {name for name, verdict in verdicts.items() if verdict.outcome is not Outcome.PASS} == set()


@pytest.mark.parametrize(
    ("defect", "point"),
    [
        ("sick", "rest.live"),
        ("sick", "rest.model.ready"),
        ("other_datatype", "rest.model"),
        ("subtracts_more", "rest.infer"),
        ("ignores_id", "rest.id"),
        ("all_outputs", "rest.selection"),
        ("no_binary", "rest.binary"),
        ("crashes", "rest.errors.datatype"),
        ("crashes", "rest.errors.elements"),
        ("crashes", "rest.errors.no_input"),
        ("deep_errors", "rest.errors.json"),
        ("empty", "rest.infer"),
        ("empty", "rest.selection"),
        ("outputs_are_text", "rest.infer"),
        ("outputs_are_text", "rest.selection"),
        ("tensors_are_text", "rest.model"),
    ],
)
def test_defect_is_found(examined: Examiner, defect: str, point: str) -> None:
    """A defect fails its point."""
    assert examined(defect)[point].outcome is Outcome.FAIL


def test_unreachable_url_fails_the_points(make_reference: Callable[..., str]) -> None:
    """Where nothing listens on the URL, each point says so."""
    with (
        Target(make_reference(), tls=None, timeout_seconds=5) as target,
        httpx.Client(base_url="http://127.0.0.1:9") as http,
    ):
        verdicts = [v for v in examine(learn(target, "simple", http=http)) if v.point.id.startswith("rest.")]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.FAIL}
    assert "ConnectError" in verdicts[0].observation.found
