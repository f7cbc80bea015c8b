"""Requests of every form, decoded: a finite matrix, or an error about a place that exists."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.property import wire
from tests.property.effort import converting
from tests.property.laws import check_infer, check_predict, check_predict_json


@converting
@given(wire.predict_requests() | wire.mutated(wire.predict_requests()))
def test_predict_messages_become_a_matrix_or_a_refusal(data: bytes) -> None:
    """Whatever a PredictRequest holds, it is rows of finite 32-bit floats, or the caller learns where it is not."""
    check_predict(data)


@converting
@given(wire.wire_messages | wire.any_bytes)
def test_bytes_of_no_message_are_refused(data: bytes) -> None:
    """Wrong wire types, lengths that lie, huge varints and deep nesting do no more than be refused."""
    check_predict(data)
    check_infer(data)


@converting
@given(wire.infer_requests() | wire.mutated(wire.infer_requests()))
def test_infer_messages_become_a_matrix_or_a_refusal(data: bytes) -> None:
    """The same holds for tensors of the Open Inference Protocol, typed and raw."""
    check_infer(data)


@converting
@given(wire.json_bodies | wire.mutated(wire.json_bodies) | wire.any_bytes)
def test_json_becomes_a_matrix_or_a_refusal(body: bytes) -> None:
    """The same holds for any text sent as the body of /predict."""
    check_predict_json(body)


@converting
@given(st.integers(1, 40_000), st.sampled_from(["[", '{"rows":[', '{"rows":[{"values":[']))
def test_json_may_nest_as_deep_as_it_likes(depth: int, opening: str) -> None:
    """Nesting that no parser's stack takes is refused as any other text."""
    check_predict_json(opening.encode() + b"[" * depth)
    check_predict_json(opening.encode() + b"[" * depth + b"]" * depth)


@converting
@given(st.text().filter(lambda key: key != "values"), st.integers(1, 3))
def test_no_key_of_a_row_is_ignored(key: str, place: int) -> None:
    """A key beside `values` is refused in whichever row it stands."""
    rows: list[dict[str, object]] = [{"values": [1, 2, 3, 4]} for _ in range(4)]
    rows[place][key.encode("utf-8", "replace").decode()] = 1
    assert check_predict_json(json.dumps({"rows": rows}).encode()) == "INVALID_ARGUMENT"
