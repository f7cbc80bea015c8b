"""What rows a model takes whose features are texts, or may be missing."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.cells import decode_cells
from inference.errors import InvalidRequestError
from inference.rows import MAX_VIOLATIONS, Decoded
from inference.signature import Signature
from protos.inference.v1.manifest_pb2 import ModelManifest
from tests.inference.mixed_models import COLUMNS, NAMES, ROWS, mixed_frame, mixed_manifest
from training.data.columns import encode_rows

SIGNATURE = Signature(mixed_manifest())
NAN = math.nan
GOOD = ["basic", "north", 1.5, 2]


class _Cells:
    """Rows as lists of cells, as an adapter gives them."""

    def __init__(self, rows: Sequence[Sequence[object]]) -> None:
        self.rows = rows

    @property
    def row_count(self) -> int:
        return len(self.rows)

    def decode(self, _column_count: int, kinds: Sequence[object] = ()) -> Decoded:
        return decode_cells(self.rows, kinds, self.place)

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}].cells[{column}]"


class _Matrix(_Cells):
    """Rows as numbers alone."""

    def decode(self, _column_count: int, _kinds: Sequence[object] = ()) -> Decoded:
        return Decoded(np.array(self.rows, np.float64))


def matrix(*rows: Sequence[object], names: Sequence[str] = ()) -> list[list[float]]:
    found = SIGNATURE.features_of(_Cells(rows), names)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    return found.tolist()


def violations(block: _Cells, names: Sequence[str] = ()) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        SIGNATURE.features_of(block, names)
    return {violation.field: violation.description for violation in caught.value.violations}


def same(found: object, expected: object) -> None:
    np.testing.assert_array_equal(found, expected)


def test_texts_become_codes_and_what_is_missing_nan() -> None:
    """A text is its place among the categories; null, nan and, where it is said so, an unknown text are nan."""
    same(
        matrix(*ROWS, ("gold", "1", NAN, 1), (NAN, "1", 2, 1.0)),
        [
            [0, 0, 31.5, 14],
            [NAN, 1, 64, 0],
            [2, 2, NAN, 12],
            [NAN, 0, NAN, 7],
            [NAN, 2, NAN, 1],
            [NAN, 2, 2, 1],
        ],
    )


def test_serving_reads_a_table_as_training_does() -> None:
    """The matrix of a table is the one that the model was fitted on, whatever is missing."""
    frame = mixed_frame().astype(object)
    rows = frame.where(frame.notna(), None).to_numpy().tolist()
    same(SIGNATURE.features_of(_Cells(rows)), encode_rows(mixed_frame(), COLUMNS))


@given(st.permutations(NAMES))
def test_named_cells_may_come_in_any_order(names: list[str]) -> None:
    """Each cell reaches its feature, and is judged as that feature's."""
    cells = dict(zip(NAMES, ROWS[2], strict=True))
    same(matrix([cells[name] for name in names], names=names), [[2, 2, NAN, 12]])
    wrong = {**cells, "region": "west", "visits": None}
    found = violations(_Cells([[wrong[name] for name in names]]), names)
    assert set(found) == {f"rows[0].cells[{names.index(name)}]" for name in ("region", "visits")}


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        (1, "west", "found 'west', expected one of 'north', 'south', '1' (feature region)"),
        (1, None, "found null, expected one of 'north', 'south', '1' (feature region)"),
        (1, NAN, "found nan, expected one of 'north', 'south', '1' (feature region)"),
        # Not a code: it may be meant to be the category "1", whose code is 2.
        (1, 1, "found 1, expected one of 'north', 'south', '1' (feature region)"),
        (0, 0.0, "found 0.0, expected one of 'basic', 'plus', 'zażółć' or null (feature plan)"),
        (0, True, "found true, expected one of 'basic', 'plus', 'zażółć' or null (feature plan)"),
        (0, {}, "found an object, expected one of 'basic', 'plus', 'zażółć' or null (feature plan)"),
        (2, "31", "found '31', expected a number or null (feature age)"),
        (2, True, "found true, expected a number or null (feature age)"),
        (2, [1], "found a list, expected a number or null (feature age)"),
        (2, math.inf, "found inf, expected a finite number or nan (feature age)"),
        (
            2,
            1e39,
            "found 1e+39, expected a number within ±3.4028235e+38, the range of 32-bit floats (feature age)",
        ),
        (3, None, "found null, expected a number (feature visits)"),
        (3, 1.5, "found 1.5, expected a whole number (feature visits)"),
        (1, "\0", r"found '\x00', expected one of 'north', 'south', '1' (feature region)"),
        (1, "\ud800", r"found '\ud800', expected one of 'north', 'south', '1' (feature region)"),
    ],
)
def test_a_wrong_cell_is_named_with_what_is_expected(column: int, cell: object, sentence: str) -> None:
    """Row, column and feature, what was found, and the texts or kind of number that would do."""
    rows = [GOOD, [*GOOD[:column], cell, *GOOD[column + 1 :]]]
    assert violations(_Cells(rows)) == {f"rows[1].cells[{column}]": sentence}


def test_a_long_text_is_repeated_a_little() -> None:
    """A megabyte of text gives a sentence."""
    (sentence,) = violations(_Cells([["basic", "x" * 1_000_000, 1, 1]])).values()
    assert len(sentence) < 200


def test_every_wrong_place_is_named() -> None:
    """Lengths, texts and numbers are looked at together: one answer tells everything."""
    found = violations(_Cells([["basic", "west", 1, 2], ["basic"], ["basic", "north", math.inf, 2]]))
    assert set(found) == {"rows[0].cells[1]", "rows[1]", "rows[2].cells[2]"}
    assert found["rows[1]"] == "found 1 values, expected 4"
    assert len(violations(_Cells([["x", None, "x", "x"]] * 1000))) == MAX_VIOLATIONS


def test_wrong_names_do_not_hide_wrong_cells() -> None:
    """A column of an unknown name is told as such, the others are judged."""
    found = violations(_Cells([["x", "west", 1, 2]]), ("colour", "region", "age"))
    assert set(found) == {"feature_names[0]", "feature_names", "rows[0].cells[1]"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0, 3, 1, 1], "the code of a category, a whole number from 0 to 2 (feature region)"),
        ([0, NAN, 1, 1], "the code of a category, a whole number from 0 to 2 (feature region)"),
        ([-1, 0, 1, 1], "the code of a category, a whole number from 0 to 2 or nan (feature plan)"),
        ([0.5, 0, 1, 1], "the code of a category, a whole number from 0 to 2 or nan (feature plan)"),
        ([0, 0, -math.inf, 1], "a finite number or nan (feature age)"),
        ([0, 0, 1, NAN], "a finite number (feature visits)"),
    ],
)
def test_numbers_of_categories_are_codes(row: list[float], expected: str) -> None:
    """Where a request has numbers alone, a category is its code, and nan what is missing."""
    same(SIGNATURE.features_of(_Matrix([[NAN, 2, NAN, 1]])), [[NAN, 2, NAN, 1]])
    (sentence,) = violations(_Matrix([row])).values()
    assert sentence.endswith(f", expected {expected}")


def test_a_model_of_numbers_that_may_be_missing() -> None:
    """Without categories nan is taken where the feature may be missing, and nowhere else."""
    manifest = ModelManifest()
    manifest.features.add(name="a", type=1, nullable=True)
    manifest.features.add(name="b", type=1)
    signature = Signature(manifest)
    same(signature.features_of(_Matrix([[NAN, 1]])), [[NAN, 1]])
    same(signature.features_of(_Cells([[None, 1]])), [[NAN, 1]])
    with pytest.raises(InvalidRequestError, match="found nan, expected a finite number"):
        signature.features_of(_Matrix([[1, NAN]]))


def test_many_categories_cost_no_more_than_few() -> None:
    """A text is looked up, not searched for."""
    manifest = ModelManifest()
    manifest.features.add(name="a", type=3, categories=[f"text {number}" for number in range(50_000)])
    found = Signature(manifest).features_of(_Cells([["text 49999"], ["text 0"]] * 30_000))
    same(found[:2], [[49999], [0]])


def test_pandas_categories_have_the_same_codes() -> None:
    """The codes are those that training makes of the manifest's categories, in their order."""
    texts = ["south", "north", "1"]
    codes = pd.Categorical(texts, categories=list(COLUMNS[1].categories)).codes
    same(np.array(matrix(*(["basic", text, 1, 1] for text in texts)))[:, 1], codes)
