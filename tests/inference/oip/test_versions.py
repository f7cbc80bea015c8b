"""The Open Inference Protocol over several models and versions of a real registry."""

from collections.abc import Callable

import grpc
import numpy as np
import pytest

from protos.oip import open_inference_pb2 as pb
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.inference.model_registry import ModelRegistry

ROW = np.array([[5.1, 3.5, 1.4, 0.2]], "<f4")
TOKEN = "a-token"
ADMIN = (("x-admin-token", TOKEN),)

pytestmark = pytest.mark.slow


def infer(stub: GRPCInferenceServiceStub, name: str, version: str) -> tuple[str, str]:
    request = pb.ModelInferRequest(model_name=name, model_version=version, raw_input_contents=[ROW.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=[1, 4])
    answer = stub.ModelInfer(request, timeout=5)
    return answer.model_name, answer.model_version


def test_versions_and_aliases_lead_to_their_model(
    make_service: Callable[..., object], registry: ModelRegistry
) -> None:
    """A number, an alias or nothing is asked for; the answer names the version that was really used."""
    options = {**registry.settings, "model_uris": ("models:/iris@champion", "models:/iris@challenger")}
    running = make_service(**options)
    stub = GRPCInferenceServiceStub(running.channel)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW.ravel().tolist()}]}
    for version, expected in (("", "1"), ("champion", "1"), ("challenger", "2"), ("2", "2")):
        assert infer(stub, "iris", version) == ("iris", expected)
        assert stub.ModelReady(pb.ModelReadyRequest(name="iris", version=version), timeout=5).ready
        path = f"/v2/models/iris/versions/{version}/infer" if version else "/v2/models/iris/infer"
        assert running.http.post(path, json=body).json()["model_version"] == expected
    assert infer(stub, "", "") == ("iris", "1")
    described = stub.ModelMetadata(pb.ModelMetadataRequest(name="iris", version="challenger"), timeout=5)
    assert [*described.versions] == ["1", "2", "champion", "challenger"]
    assert described.properties["version"] == "2"
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5).models
    assert [(each.name, each.version, each.state) for each in index] == [
        ("iris", "1", "READY"),
        ("iris", "2", "READY"),
    ]


def test_a_load_opens_a_model_that_was_not_configured(
    make_service: Callable[..., object], registry: ModelRegistry
) -> None:
    """The champion of a name is loaded beside the others and can be unloaded; what the registry lacks is NOT_FOUND."""
    running = make_service(**registry.settings, model_uri="models:/iris@champion", admin_api_token=TOKEN)
    stub = GRPCInferenceServiceStub(running.channel)
    load = pb.RepositoryModelLoadRequest(repository_name="price")  # KServe's dialect
    assert stub.RepositoryModelLoad(load, timeout=60, metadata=ADMIN).isLoaded
    assert infer(stub, "price", "") == ("price", "1")
    unload = pb.RepositoryModelUnloadRequest(model_name="price")
    assert stub.RepositoryModelUnload(unload, timeout=60, metadata=ADMIN).isUnloaded
    assert not stub.ModelReady(pb.ModelReadyRequest(name="price"), timeout=5).ready
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert infer(stub, "iris", "") == ("iris", "1")
    for name in ("nope", "iris/2", "../iris", "iris@challenger", " ", "é" * 300):
        request = pb.RepositoryModelLoadRequest(model_name=name)
        with pytest.raises(grpc.RpcError) as caught:
            stub.RepositoryModelLoad(request, timeout=60, metadata=ADMIN)
        assert caught.value.code().name in ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION"), name
