"""Parquet files of every type that a column of features, labels or confidences may have."""

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from drift.data.table import read_current, read_reference
from drift.errors import DatasetError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write columns, given as keywords, to a Parquet file and return its path."""

    def write(**columns: pa.Array) -> Path:
        path = tmp_path / "data.parquet"
        parquet.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return write


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 3], pa.int8()), [1, np.nan, 3]),
        (pa.array([1, 2**63, 3], pa.uint64()), [1, 2.0**63, 3]),
        (pa.array([0.5, np.nan, np.inf], pa.float64()), [0.5, np.nan, np.inf]),
        (pa.array([0.5, None, 2], pa.float32()), [0.5, np.nan, 2]),
        (pa.array([Decimal("1.25"), None, Decimal("-3.00")], pa.decimal128(9, 2)), [1.25, np.nan, -3]),
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.array(["1.5", "", "NaN"]), [1.5, np.nan, np.nan]),
        (pa.array(["1", None, " +2"], pa.large_string()), [1, np.nan, 2]),
        (pa.array([7, 8, None]).dictionary_encode(), [7, 8, np.nan]),
        (pa.nulls(3), [np.nan] * 3),
    ],
)
def test_features_of_every_type_are_numbers(write: Write, column: pa.Array, expected: list[float]) -> None:
    """What is missing is NaN, and a truth value is 0 or 1."""
    path = write(feature_0=column, prediction=pa.array(["a", "b", "a"]))
    np.testing.assert_array_equal(read_reference(path, 100).rows.features[:, 0], expected)


@pytest.mark.parametrize(
    ("column", "expected", "kind"),
    [
        (pa.array(["a", "NA", "1.0"]), ["a", "NA", "1"], "label"),
        (pa.array([2, 1, 0]), ["2", "1", "0"], "label"),
        (pa.array([2.0, 1.0, 0.0]), ["2", "1", "0"], "label"),
        (pa.array([True, False, True]), ["True", "False", "True"], "label"),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"], "label"),
        (pa.array([0.1, 2.0, 1e300]), [0.1, 2.0, 1e300], "number"),
    ],
)
def test_predictions_are_what_a_csv_would_say(
    write: Write, column: pa.Array, expected: list[object], kind: str
) -> None:
    """One class has one name, however the file writes it."""
    reference = read_reference(write(feature_0=pa.array([1, 2, 3]), prediction=column), 100)
    assert (reference.schema.kind, reference.rows.predictions.tolist()) == (kind, expected)


def test_texts_are_categories(write: Write) -> None:
    """The codes are those of the reference, whatever the type of the current column."""
    labels, texts = pa.array(["a", "b", "a"]), pa.array(["1", "north", None])
    schema = read_reference(write(feature_0=texts, prediction=labels), 100).schema
    assert schema.categories == (("1", "north"),)
    for column, codes in (
        (pa.array(["north", "west", ""]).dictionary_encode(), [1, 2, np.nan]),
        (pa.array([1.0, 2.0, None]), [0, 2, np.nan]),
    ):
        current = read_current(write(feature_0=column, prediction=labels), schema, 100)
        assert current is not None
        np.testing.assert_array_equal(current.features[:, 0], codes)


def test_targets_and_confidences_are_read(write: Write) -> None:
    """A class that is missing makes pandas write the others as 1.0."""
    path = write(
        feature_0=pa.array([1.0, 2.0, 3.0]),
        prediction=pa.array([1, 0, 1]),
        target=pa.array([1.0, np.nan, 0.0]),
        confidence=pa.array([0.5, None, 1.0], pa.float32()),
    )
    rows = read_reference(path, 100).rows
    assert rows.targets is not None
    assert rows.confidences is not None
    assert rows.targets.tolist() == ["1", None, "0"]
    np.testing.assert_array_equal(rows.confidences, [0.5, np.nan, 1.0])


def test_gzip_around_parquet_is_unpacked(write: Write) -> None:
    """Some tools compress whatever they store."""
    path = write(feature_0=pa.array([1, 2]), prediction=pa.array(["a", "b"]))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_reference(path, 100).rows.features.tolist() == [[1], [2]]


def test_columns_that_nobody_asks_for_may_have_any_type(write: Write) -> None:
    """Only the columns of rows are read."""
    path = write(feature_0=pa.array([1]), prediction=pa.array(["a"]), tags=pa.array([["x", "y"]]))
    assert len(read_reference(path, 100).rows) == 1


@pytest.mark.parametrize(
    "column", [pa.array([[1.0]]), pa.array([{"x": 1}]), pa.array([b"a"]), pa.array([0], pa.date32())]
)
@pytest.mark.parametrize("name", ["feature_0", "prediction"])
def test_other_types_are_refused(write: Write, name: str, column: pa.Array) -> None:
    """The column and its type are named."""
    columns = {"feature_0": pa.array([1.0]), "prediction": pa.array(["a"])} | {name: column}
    with pytest.raises(DatasetError, match=f"{name} has the type ") as refused:
        read_reference(write(**columns), 100)
    assert str(column.type).partition("<")[0] in str(refused.value)
    assert "give numbers, texts or booleans" in str(refused.value)


def test_an_empty_or_broken_file_is_refused(write: Write) -> None:
    """No rows, no features, half a file."""
    none: list[float] = []
    path = write(feature_0=pa.array(none, pa.float64()), prediction=pa.array(none, pa.string()))
    with pytest.raises(DatasetError, match="Reference dataset is empty"):
        read_reference(path, 100)
    with pytest.raises(DatasetError, match=r"must contain feature columns \(found sepal"):
        read_reference(write(sepal=pa.array([1])), 100)
    path = write(feature_0=pa.array([1]), prediction=pa.array(["a"]))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"cannot be read \(Parquet: "):
        read_reference(path, 100)


def test_a_large_file_is_sampled_as_a_csv_is(write: Write, tmp_path: Path) -> None:
    """The same rows in either format give the same sample."""
    numbers = np.arange(50_000)
    path = tmp_path / "large.csv"
    path.write_text("feature_0,prediction\n" + "".join(f"{number},a\n" for number in numbers))
    table = pa.table({"feature_0": numbers, "prediction": ["a"] * len(numbers)})
    parquet.write_table(table, tmp_path / "large.parquet")
    found = [read_reference(one, 500) for one in (path, tmp_path / "large.parquet")]
    assert found[0].total_rows == found[1].total_rows == 50_000
    np.testing.assert_array_equal(found[0].rows.features, found[1].rows.features)
