"""Elements in both wire forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.conform.tensors import DATATYPES, fits, outputs_of, raw_of, read_raw, typed_of, valid
from protos.oip import open_inference_pb2 as oip

NUMPY = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8"} | {
    f"{sign}INT{size}": f"{sign.lower() or 'i'}{size // 8}" for sign in ("", "U") for size in (8, 16, 32, 64)
}


@given(st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_raw_round_trips(datatype: str, shape: list[int]) -> None:
    """What is written as raw contents is read back."""
    tensor = valid("x", datatype, shape)
    assert read_raw(datatype, raw_of(tensor)) == tensor.elements


@pytest.mark.parametrize("datatype", sorted(NUMPY))
def test_raw_is_what_numpy_writes(datatype: str) -> None:
    """Raw contents are the little-endian bytes of the array, as numpy has them."""
    tensor = valid("x", datatype, (2, 3))
    assert raw_of(tensor) == np.array(tensor.elements, f"<{NUMPY[datatype]}").tobytes()


@pytest.mark.parametrize("datatype", sorted(set(DATATYPES) - {"FP16", "BF16"}))
def test_typed_outputs_are_read(datatype: str) -> None:
    """Typed contents are found in the field of their datatype."""
    tensor = valid("x", datatype, (2, 2))
    response = oip.ModelInferResponse()
    response.outputs.add(name="x", datatype=datatype, shape=(2, 2), contents=typed_of(tensor))
    assert outputs_of(response) == [tensor]


@pytest.mark.parametrize("content", [b"\x05\0\0", b"\x05\0\0\0abc"])
def test_cut_texts_are_refused(content: bytes) -> None:
    """Texts that end before their length are no texts."""
    with pytest.raises(ValueError, match="cut off"):
        read_raw("BYTES", content)


def test_open_dimensions_fit_any_size() -> None:
    """-1 stands for any size, and only in its place."""
    assert fits((7, 4), (-1, 4))
    assert not fits((7, 3), (-1, 4))
    assert not fits((7,), (-1, 4))
