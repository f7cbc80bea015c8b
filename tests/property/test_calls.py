"""gRPC, fed with anything: a status that the caller can act on, and a server that goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property import wire
from tests.property.effort import serving
from tests.property.seeds import INFER as INFER_SEEDS
from tests.property.seeds import PREDICT
from tests.property.server import INFER, OTHER_METHODS, PREDICT_METHOD, TOKEN, Server

#: What gRPC itself keeps for its own use, and refuses to send for a caller.
_RESERVED = ("grpc-", "content-type", "te", "user-agent", "host", "connection", "transfer-encoding")
_text_keys = st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True).filter(
    lambda key: not key.startswith(_RESERVED) and not key.endswith("-bin")
)
_known_keys = st.sampled_from(
    [
        "x-request-id",
        "x-correlation-id",
        "traceparent",
        "x-shadow-request",
        "authorization",
        "baggage",
        "tracestate",
    ]
)
_ascii = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
_pairs = st.tuples(_known_keys | _text_keys, _ascii) | st.tuples(
    st.sampled_from(["x-request-id-bin", "traceparent-bin", "grpc-trace-bin", "grpc-tags-bin", "a-bin"]),
    st.binary(max_size=300),
)


@pytest.fixture(scope="module")
def infer_offered(one_server: Server) -> None:
    """Skip where the server does not offer the Open Inference Protocol."""
    if one_server.call(INFER, INFER_SEEDS[0]) == "UNIMPLEMENTED":
        pytest.skip("this server has no inference.GRPCInferenceService")


@serving
@given(wire.predict_requests() | wire.mutated(wire.predict_requests()) | wire.wire_messages | wire.any_bytes)
def test_predict_takes_any_bytes(server: Server, data: bytes) -> None:
    """Any bytes sent as a PredictRequest get OK or a status that says what to change."""
    assert server.call(PREDICT_METHOD, data) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


@pytest.mark.usefixtures("infer_offered")
@serving
@given(wire.infer_requests() | wire.mutated(wire.infer_requests()) | wire.wire_messages | wire.any_bytes)
def test_model_infer_takes_any_bytes(server: Server, data: bytes) -> None:
    """The same holds for ModelInfer."""
    assert server.call(INFER, data) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


@serving
@given(st.sampled_from(OTHER_METHODS), wire.wire_messages | wire.any_bytes)
def test_every_other_method_takes_any_bytes(server: Server, method: str, data: bytes) -> None:
    """The same holds for what describes, lists, loads and unloads models, also for who may do so."""
    assert server.call(method, data, (("authorization", f"Bearer {TOKEN}"),)) in {
        *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"),
    }


@serving
@given(st.lists(_pairs, max_size=12), st.sampled_from(PREDICT[:1]))
def test_metadata_changes_no_answer(
    server: Server, metadata: list[tuple[str, str | bytes]], data: bytes
) -> None:
    """Headers of any text or bytes, once or many times, do not keep a sound request from its answer."""
    assert server.call(PREDICT_METHOD, data, tuple(metadata)) == "OK"


@pytest.mark.parametrize("size", [4_000, 20_000, 200_000])
@pytest.mark.parametrize("key", ["x-request-id", "traceparent", "x-other", "blob-bin"])
def test_large_metadata_is_refused_or_ignored(server: Server, key: str, size: int) -> None:
    """Headers beyond what HTTP/2 takes cost the call, and nothing else."""
    value = b"\xff" * size if key.endswith("-bin") else "a" * size
    assert server.call(PREDICT_METHOD, PREDICT[0], ((key, value),)) in {"OK", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize("name", ["a" * 100_000, "\n" * 1000, "é" * 10_000, "\0"])
def test_long_names_get_short_refusals(server: Server, name: str) -> None:
    """A caller's own text, however long, fits the trailers of the refusal."""
    from protos.inference.v1 import inference_pb2 as pb

    row = pb.Row(values=[1, 2, 3, 4])
    for request, status in (
        (pb.PredictRequest(rows=[row], model_name=name), "NOT_FOUND"),
        (pb.PredictRequest(rows=[row], model_version=name), "NOT_FOUND"),
        (pb.PredictRequest(rows=[row], feature_names=[name]), "INVALID_ARGUMENT"),
    ):
        assert server.call(PREDICT_METHOD, request.SerializeToString()) == status


@serving
@given(st.sampled_from(["GetModel", "Predict", "predict", "", "x" * 5000]) | st.text(), wire.any_bytes)
def test_methods_that_are_not_there_make_no_metric(server: Server, method: str, data: bytes) -> None:
    """Any path gets a status; UNIMPLEMENTED where there is no such method."""
    name = "".join(filter(str.isprintable, method.encode("ascii", "ignore").decode()))
    status = server.call(f"/inference.v1.InferenceService/{name}", data)
    if name in ("GetModel", "Predict"):
        assert status in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
    else:
        assert status == "UNIMPLEMENTED"
