"""kserve's clients, unmodified, over gRPC and REST."""

# ruff: noqa: ANN401 - other people's clients come without types

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.errors import InvalidInput

Target = dict[str, Any]


def request(rows: np.ndarray, *, binary: bool = False, model: str = "iris") -> InferRequest:
    """Return the rows as a request of the protocol."""
    tensor = InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(model, [tensor], request_id="4711")


def outputs(response: Any) -> dict[str, np.ndarray]:
    """Return the outputs by name."""
    return {output.name: output.as_numpy() for output in response.outputs}


@pytest.mark.parametrize("raw", [False, True])
def test_grpc(target: Target, rows: np.ndarray, check: Callable[..., None], raw: bool) -> None:
    """The gRPC client finds server and model ready, and gets scikit-learn's predictions by either contents."""

    async def ask() -> Any:
        client = InferenceGRPCClient(target["grpc"])
        try:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("iris")
            return await client.infer(request(rows, binary=raw))
        finally:
            await client.close()

    response = asyncio.run(ask())
    found = outputs(response)
    check(found["label"], found["probabilities"])
    assert response.id == "4711"


@pytest.mark.parametrize("binary", [False, True])
def test_rest(target: Target, rows: np.ndarray, check: Callable[..., None], binary: bool) -> None:
    """The REST client of protocol v2 gets the same, as JSON and as binary data."""

    async def ask() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        url = f"http://{target['http']}"
        try:
            assert await client.is_server_live(url)
            assert await client.is_server_ready(url)
            assert await client.is_model_ready(url, "iris")
            return await client.infer(url, request(rows, binary=binary), model_name="iris")
        finally:
            await client.close()

    response = asyncio.run(ask())
    found = outputs(response)
    check(found["label"], found["probabilities"])
    assert response.id == "4711"


def test_wrong_shape_is_told(target: Target, rows: np.ndarray) -> None:
    """A wrong shape is the caller's mistake; the client shows the status."""

    async def ask() -> None:
        client = InferenceGRPCClient(target["grpc"], retries=0)
        try:
            await client.infer(request(np.ascontiguousarray(rows[:, :3])))
        finally:
            await client.close()

    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|expected") as caught:
        asyncio.run(ask())
    assert not isinstance(caught.value, InvalidInput), "the client itself found nothing wrong"


def test_our_client_beside(target: Target, check: Callable[..., None]) -> None:
    """Our own client works in the same process, with the same protobuf."""
    from inference.client import PredictionClient

    with PredictionClient(target["grpc"]) as client:
        check(client.predict(target["rows"]).labels)
