"""Rows as people have them, to the request that is sent."""

import contextlib
import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inference.client import InvalidRequestError
from inference.client.rows import encode
from protos.inference.v1 import inference_pb2 as pb


def _sent(request: pb.PredictRequest) -> np.ndarray:
    """Read the numbers as a server does."""
    if not request.HasField("tensor"):
        return np.array([list(row.values) for row in request.rows])
    tensor = request.tensor
    flat = np.frombuffer(tensor.float32_values, "<f4") if tensor.float32_values else np.array(tensor.values)
    return flat.reshape(tensor.row_count, tensor.column_count)


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2.5], [3, 4]],
        ((1, 2.5), (3, 4)),
        iter([[1, 2.5], [3, 4]]),
        (row for row in ([1, 2.5], [3, 4])),
        [np.array([1, 2.5]), np.array([3, 4], np.float32)],
        [[Decimal(1), np.float64(2.5)], [np.int8(3), True + 3]],
    ],
)
def test_sequences_go_as_rows(rows: object) -> None:
    """Whatever yields rows of numbers is sent row by row."""
    request = encode(rows, ["a", "b"]).request
    assert _sent(request).tolist() == [[1, 2.5], [3, 4]]
    assert list(request.feature_names) == ["a", "b"]
    assert not request.HasField("tensor")


def test_mappings_name_their_features() -> None:
    """Names are those of the first row; the order within later rows does not matter."""
    request = encode([{"a": 1, "b": 2.5}, {"b": 4, "a": 3}]).request
    assert list(request.feature_names) == ["a", "b"]
    assert _sent(request).tolist() == [[1, 2.5], [3, 4]]


_tables = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats())


@given(_tables | arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_an_array_arrives_as_it_is(array: np.ndarray) -> None:
    """Law: no number changes on its way, nan and infinities included; 32 bits are used when they suffice."""
    request = encode(array).request
    np.testing.assert_array_equal(_sent(request), array)
    with np.errstate(over="ignore"):
        fits = np.array_equal(array.astype(np.float32), array, equal_nan=True)
    assert bool(request.tensor.float32_values) == fits
    assert bool(request.tensor.values) != fits


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", ">f8", ">i4", "f2", "?"])
def test_every_kind_of_number_is_sent(dtype: str) -> None:
    """Integers, other byte orders and booleans are numbers; the layout in memory does not matter."""
    array = np.asfortranarray(np.array([[0, 1, 1], [1, 0, 1]], dtype))
    assert _sent(encode(array).request).tolist() == array.astype(float).tolist()
    assert _sent(encode(array[:, ::-1]).request).tolist() == array[:, ::-1].astype(float).tolist()


def test_a_frame_names_its_features_and_keeps_its_index() -> None:
    """Columns of different kinds become numbers, and missing ones NaN, which the server judges."""
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [True, False], "c": pd.array([3, None], "Int64"), "d": [0.5, np.nan]},
        index=["x", "y"],
    )
    encoded = encode(frame)
    np.testing.assert_array_equal(_sent(encoded.request), [[1, 1, 3, 0.5], [2, 0, np.nan, np.nan]])
    assert list(encoded.request.feature_names) == ["a", "b", "c", "d"]
    assert list(encoded.index) == ["x", "y"]
    mixed = encode(frame.astype(object)).request
    np.testing.assert_array_equal(_sent(mixed), _sent(encoded.request))


def test_a_frame_without_names_has_the_models_order() -> None:
    """Columns that are numbers are no names, as in scikit-learn."""
    request = encode(pd.DataFrame([[1.0, 2.0]])).request
    assert list(request.feature_names) == []
    assert _sent(request).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([5.1, 3.5], r"row 0: found 5\.1, expected a sequence of cells; one row is a list in a list"),
        ("5.1,3.5", "rows: found '5.1,3.5', expected rows"),
        (b"\x80\x04K\x01.", "rows: found b"),
        (None, "rows: found None, expected rows"),
        (7, "rows: found 7, expected rows"),
        ({"a": 1}, "rows: found {'a': 1}, expected rows"),
        (["5.1", "3.5"], "row 0: found '5.1', expected a sequence"),
        ([None], "row 0: found None, expected a sequence"),
        ([[1, 2], [3]], "row 1: found 1 values, expected 2 as before"),
        ([[1, [2]]], r"row 0, column 1: found \[2\], expected a number"),
        ([[1, 2j]], "row 0, column 1: found 2j"),
        ([[10**400]], "row 0, column 0: found 1000"),
        ([[datetime.date(2020, 1, 1)]], "row 0, column 0: found datetime"),
        ([{"a": 1}, {"b": 1}], r"row 1: misses \['a'\] and adds \['b'\], expected the same names"),
        ([{"a": 1}, [1]], "row 1: found no mapping"),
        ([[1], {"a": 1}], "row 1: found {'a': 1}, expected a sequence"),
        ([{1: 1}], "row 0: found the names"),
        (np.zeros(3), r"rows: found an array of 1 dimensions, expected 2; one row is array\.reshape"),
        (np.zeros((1, 2, 3)), "found an array of 3 dimensions"),
        (np.array([[1j]]), "rows: found dtype complex128"),
        ([["a"], ["\ud800"]], r"row 1, column 0: found '\\ud800', expected a number, a text or None"),
        ([["a", b"x"]], "row 0, column 1: found b'x', expected a number, a text or None"),
        ([["a", 1], ["b"]], "row 1: found 1 values, expected 2 as before"),
        (pd.DataFrame({"a": ["x"], "b": [object()]}), "row 0, column 1: found <object"),
        (np.array([["2020-01-01"]], "M8[D]"), "rows: found dtype datetime64"),
        (np.array([[1, {}]], object), "row 0, column 1: found {}"),
        (pd.DataFrame({"a": [1], "b": pd.to_datetime(["2020"])}), r"row 0, column 1: found Timestamp"),
        (pd.DataFrame({"a": [1], 2: [1]}), r"columns: found \['a', 2\]"),
        (pd.Series([1.0, 2.0]), "row 0: found 1.0"),
        (object(), "rows: found <object"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(rows: object, sentence: str) -> None:
    """What is no cell, and rows of different lengths, are refused by place, before anything is sent."""
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        encode(rows)
    assert caught.value.violations
    assert caught.value.request_id == ""
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "rows",
    [
        [["x", 1, None], ["", 2.5, "y"]],
        [{"a": "x", "b": 1, "c": float("nan")}, {"c": "y", "a": "", "b": 2.5}],
        iter([iter(["x", 1, None]), iter(["", np.float32(2.5), np.str_("y")])]),
        np.array([["x", 1, None], ["", 2.5, "y"]], object),
        pd.DataFrame({"a": ["x", ""], "b": [1, 2.5], "c": [None, "y"]}),
        pd.DataFrame({"a": ["x", ""], "b": [1, 2.5], "c": [np.nan, "y"]}, dtype=object),
        pd.DataFrame({"a": ["x", ""], "b": [1, 2.5], "c": pd.Categorical([None, "y"])}),
        pd.DataFrame({"a": ["x", ""], "b": pd.array([1, 2.5]), "c": pd.array([pd.NA, "y"], "string")}),
    ],
    ids=["lists", "mappings", "iterators", "array", "frame", "objects", "categorical", "extension types"],
)
def test_texts_and_missing_values_are_sent_as_cells(rows: object) -> None:
    """Whatever has a text in it goes as rows of numbers, texts and null, each as it was."""
    request = encode(rows).request
    assert not any(row.values for row in request.rows)
    assert [list(row.cells) for row in request.rows] == [["x", 1, None], ["", 2.5, "y"]]


def test_what_is_missing_among_numbers() -> None:
    """Rows of numbers and None go as cells; in arrays and frames of numbers it is NaN, in the block."""
    assert [list(row.cells) for row in encode([[1, None], [2, 3]]).request.rows] == [[1, None], [2, 3]]
    assert np.isnan(_sent(encode(np.array([[1, None]], object)).request)[0, 1])


@pytest.mark.parametrize("rows", [[{"a": 1}], pd.DataFrame({"a": [1]})])
def test_names_are_given_once(rows: object) -> None:
    """Names beside rows that have names are a mistake, and not silently one or the other."""
    with pytest.raises(InvalidRequestError, match="feature_names: found them beside"):
        encode(rows, ["a"])


@pytest.mark.parametrize(
    "rows", [[], np.empty((0, 4)), pd.DataFrame({"a": []}), [[]], [[1e300, float("nan")]]]
)
def test_everything_else_is_left_to_the_server(rows: object) -> None:
    """No rows, no columns, numbers that a model may not take: only the server knows."""
    encode(rows)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_garbage_is_sent_or_refused_in_words(rows: object) -> None:
    """Law: whatever is given, the only error is ours."""
    with contextlib.suppress(InvalidRequestError):
        encode(rows)
