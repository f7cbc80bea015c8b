"""tritonclient, unmodified, over gRPC and HTTP."""

# ruff: noqa: ANN401 - other people's clients come without types

import asyncio
import queue
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
from tritonclient.utils import InferenceServerException

Target = dict[str, Any]


@pytest.fixture
def grpc_client(target: Target) -> Iterator[Any]:
    """Triton's client for gRPC."""
    with tritonclient.grpc.InferenceServerClient(target["grpc"]) as client:
        yield client


@pytest.fixture
def http_client(target: Target) -> Iterator[Any]:
    """Triton's client for HTTP."""
    with tritonclient.http.InferenceServerClient(target["http"]) as client:
        yield client


@pytest.fixture(params=["grpc", "http"])
def either(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A client and the module that it is from."""
    module = tritonclient.grpc if request.param == "grpc" else tritonclient.http
    return request.getfixturevalue(f"{request.param}_client"), module


def given(module: Any, rows: np.ndarray, datatype: str = "FP32", **options: Any) -> list[Any]:
    """Return the rows as one input tensor."""
    tensor = module.InferInput("input", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, **options)
    return [tensor]


def asked(module: Any, *names: str) -> list[Any]:
    """Return outputs that are asked for."""
    return [module.InferRequestedOutput(name) for name in names]


def test_live_and_ready(either: tuple[Any, Any]) -> None:
    """The server lives and is ready, and so is the model, with and without its version."""
    client, _ = either
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")


def test_unknown_model_is_not_ready(grpc_client: Any, http_client: Any) -> None:
    """A model that is not there is not ready; over gRPC, NOT_FOUND says that it never becomes so."""
    assert not http_client.is_model_ready("nothing")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        grpc_client.is_model_ready("nothing")


def test_metadata_over_grpc(grpc_client: Any) -> None:
    """Server and model are described as JSON, too."""
    assert "model_repository" in grpc_client.get_server_metadata().extensions
    described = grpc_client.get_model_metadata("iris", as_json=True)
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": ["-1", "4"]}]
    assert [output["name"] for output in described["outputs"]] == ["label", "probabilities"]


def test_metadata_over_http(http_client: Any) -> None:
    """Server and model are described over HTTP as over gRPC."""
    assert "model_repository" in http_client.get_server_metadata()["extensions"]
    described = http_client.get_model_metadata("iris", "1")
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert "1" in described["versions"]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_predictions_are_those_of_scikit_learn(
    either: tuple[Any, Any], rows: np.ndarray, check: Callable[..., None], datatype: str
) -> None:
    """Labels, which are strings, and probabilities are those of scikit-learn, by raw contents."""
    client, module = either
    numbers = rows.astype({"FP32": np.float32, "FP64": np.float64}[datatype])
    result = client.infer("iris", given(module, numbers, datatype), request_id="4711")
    check(result.as_numpy("label"), result.as_numpy("probabilities"))
    response = result.get_response()
    assert (response["id"] if isinstance(response, dict) else response.id) == "4711"


def test_only_outputs_that_are_asked_for(
    either: tuple[Any, Any], rows: np.ndarray, check: Callable[..., None]
) -> None:
    """An output that is not asked for does not come."""
    client, module = either
    result = client.infer("iris", given(module, rows), model_version="1", outputs=asked(module, "label"))
    check(result.as_numpy("label"))
    assert result.as_numpy("probabilities") is None


@pytest.mark.parametrize("binary", [True, False])
def test_http_in_both_forms(
    http_client: Any, rows: np.ndarray, check: Callable[..., None], binary: bool
) -> None:
    """Tensors travel as binary data and as JSON, each way."""
    module = tritonclient.http
    outputs = [module.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")]
    result = http_client.infer("iris", given(module, rows, binary_data=binary), outputs=outputs)
    check(result.as_numpy("label"), result.as_numpy("probabilities"))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc_compression(
    grpc_client: Any, rows: np.ndarray, check: Callable[..., None], algorithm: str
) -> None:
    """Compressed calls are answered."""
    inputs = given(tritonclient.grpc, rows)
    check(grpc_client.infer("iris", inputs, compression_algorithm=algorithm).as_numpy("label"))


def test_callbacks_over_grpc(grpc_client: Any, rows: np.ndarray, check: Callable[..., None]) -> None:
    """`async_infer` calls back with the result."""
    results: queue.Queue[Any] = queue.Queue()
    grpc_client.async_infer(
        "iris", given(tritonclient.grpc, rows), lambda result, error: results.put(error or result)
    )
    check(results.get(timeout=10).as_numpy("label"))


def test_futures_over_http(http_client: Any, rows: np.ndarray, check: Callable[..., None]) -> None:
    """`async_infer` over HTTP returns what `infer` does."""
    check(http_client.async_infer("iris", given(tritonclient.http, rows)).get_result().as_numpy("label"))


def test_asyncio(target: Target, rows: np.ndarray, check: Callable[..., None]) -> None:
    """The client for asyncio gets the same answers, several at a time."""

    async def ask() -> list[Any]:
        async with tritonclient.grpc.aio.InferenceServerClient(target["grpc"]) as client:
            assert await client.is_model_ready("iris")
            return await asyncio.gather(
                *(client.infer("iris", given(tritonclient.grpc, rows)) for _ in range(8))
            )

    for result in asyncio.run(ask()):
        check(result.as_numpy("label"), result.as_numpy("probabilities"))


def test_mistakes_are_told(either: tuple[Any, Any], rows: np.ndarray) -> None:
    """A wrong shape and an unknown model are the caller's mistakes, with their status."""
    client, module = either
    cases = [("iris", rows[:, :3], ("INVALID_ARGUMENT", "400")), ("nothing", rows, ("NOT_FOUND", "404"))]
    for model, numbers, statuses in cases:
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, given(module, np.ascontiguousarray(numbers)))
        assert str(caught.value.status()).removeprefix("StatusCode.") in statuses


def test_repository(
    either: tuple[Any, Any], rows: np.ndarray, check: Callable[..., None], target: Target
) -> None:
    """With the token a model is unloaded and loaded again, and the index says so; without it neither."""
    client, module = either
    token = {"x-admin-token": target["token"]}
    with pytest.raises(InferenceServerException):
        client.unload_model("iris")
    assert states(client) == {"iris": "READY"}
    client.unload_model("iris", headers=token)
    assert states(client) == {"iris": "UNAVAILABLE"}
    client.load_model("iris", headers=token)
    assert states(client) == {"iris": "READY"}
    check(client.infer("iris", given(module, rows)).as_numpy("label"))


def states(client: Any) -> dict[str, str]:
    """Return the state of each model."""
    index = client.get_model_repository_index()
    models = index if isinstance(index, list) else index.models
    return {
        (each["name"] if isinstance(each, dict) else each.name): (
            each["state"] if isinstance(each, dict) else each.state
        )
        for each in models
    }


def test_our_client_beside(target: Target, check: Callable[..., None]) -> None:
    """Our own client works in the same process, with the same protobuf."""
    from inference.client import PredictionClient

    with PredictionClient(target["grpc"]) as client:
        check(client.predict(target["rows"]).labels)
