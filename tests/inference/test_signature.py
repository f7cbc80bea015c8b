"""What rows a model takes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequestError
from inference.rows import MAX_VIOLATIONS, Decoded, decode_rows
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_FLOAT, FEATURE_TYPE_INTEGER, ModelManifest

FLOAT32_MAX = float(np.finfo(np.float32).max)


class _Rows:
    """Rows as lists, as an adapter gives them."""

    def __init__(self, rows: list[list[object]]) -> None:
        self._rows = rows

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def decode(self, column_count: int, _kinds: object = ()) -> Decoded:
        return decode_rows(self._rows, column_count, self.place, typed=False)

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].values[{column}]"


def signature(*, integers: tuple[str, ...] = ()) -> Signature:
    manifest = ModelManifest()
    for name in ("a", "b", "c"):
        manifest.features.add(
            name=name, type=FEATURE_TYPE_INTEGER if name in integers else FEATURE_TYPE_FLOAT
        )
    return Signature(manifest)


def violations(rows: list[list[object]], names: tuple[str, ...] = (), **options: object) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        signature(**options).features_of(_Rows(rows), names)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_positional_rows_keep_their_order() -> None:
    """Without names the columns are the model's own, as 32-bit floats in C order."""
    matrix = signature().features_of(_Rows([[1, 2, 3], [4, 5, 6.5]]))
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6.5]]


@given(st.permutations(["a", "b", "c"]))
def test_named_rows_may_come_in_any_order(names: list[str]) -> None:
    """Whatever the order of the names, each number reaches its feature."""
    value = {"a": 1.0, "b": 2.0, "c": 3.0}
    matrix = signature().features_of(_Rows([[value[name] for name in names]] * 2), names)
    assert matrix.tolist() == [[1, 2, 3]] * 2
    assert matrix.flags.c_contiguous


def test_names_are_each_feature_exactly_once() -> None:
    """Unknown, repeated and missing names are all reported, with what is expected."""
    found = violations([[1, 2, 3]], ("a", "x", "a"))
    assert found["feature_names[1]"] == "found 'x', expected one of a, b, c"
    assert found["feature_names[2]"] == "found 'a' again, it is feature_names[0] too"
    assert found["feature_names"] == "misses b, c; name every feature exactly once"


def test_every_wrong_place_is_named() -> None:
    """Shape, type and value are looked at together: one answer tells everything."""
    found = violations([[1, 2, math.nan], [1, 2], [1, "x", 3], [1, 2, 1e39]])
    assert found == {
        "rows[0].values[2]": "found nan, expected a finite number (feature c)",
        "rows[1]": "found 2 values, expected 3",
        "rows[2].values[1]": "found 'x', expected a number",
        "rows[3].values[2]": "found 1e+39, expected a number within ±3.4028235e+38, "
        "the range of 32-bit floats (feature c)",
    }


def test_named_columns_give_the_feature_of_the_callers_column() -> None:
    """A violation in named rows names the caller's column and the feature in it."""
    assert violations([[1, 2, math.inf]], ("c", "b", "a")) == {
        "rows[0].values[2]": "found inf, expected a finite number (feature a)"
    }


def test_integer_features_take_numbers_without_a_fraction() -> None:
    """A whole number in any notation is taken, a fraction is refused, also when columns are named."""
    taken = signature(integers=("b",)).features_of(_Rows([[0.5, 2.0, 0.5]]))
    assert taken.tolist() == [[0.5, 2.0, 0.5]]
    found = violations([[2.5, 0.5, 0.5]], ("b", "a", "c"), integers=("b",))
    assert found == {"rows[0].values[0]": "found 2.5, expected a whole number (feature b)"}


def test_no_rows_are_refused() -> None:
    """A request without rows is a mistake, not an empty answer."""
    assert violations([]) == {"rows": "found no rows, expected at least 1"}


def test_violations_are_bounded() -> None:
    """A million wrong numbers give a short answer."""
    assert len(violations([[math.nan] * 3] * 1000)) == MAX_VIOLATIONS
    assert len(violations([[]] * 1000)) == MAX_VIOLATIONS


@pytest.mark.parametrize("rows", [1, 4000])
@pytest.mark.parametrize(
    ("value", "good"),
    [
        *((good, True) for good in (1.0, 1e30, -FLOAT32_MAX)),
        *((bad, False) for bad in (1e39, -1e300, math.inf, -math.inf, math.nan)),
    ],
)
def test_one_wrong_number_among_many_is_found(value: float, good: bool, rows: int) -> None:
    """Few rows or many, good numbers pass, also those whose squares are no number, and one wrong one does not."""
    numbers = [[1.0, 2.0, 3.0] for _ in range(rows)]
    numbers[-1][1] = value
    if good:
        assert signature().features_of(_Rows(numbers))[-1, 1] == np.float32(value)
    else:
        assert set(violations(numbers)) == {f"rows[{rows - 1}].values[1]"}


@given(st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_exactly_what_a_32_bit_float_holds_is_taken(rows: list[list[float]]) -> None:
    """Rows are taken if and only if every number is finite and within the range of 32-bit floats."""
    if all(abs(value) <= FLOAT32_MAX for row in rows for value in row):
        matrix = signature().features_of(_Rows(rows))
        np.testing.assert_array_equal(matrix, np.array(rows, dtype=np.float32))
    else:
        assert violations(rows)
