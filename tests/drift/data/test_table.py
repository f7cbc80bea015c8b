"""Datasets in CSV files: what is read, and the sentences for what cannot be."""

from pathlib import Path

import numpy as np
import pytest

from drift.data.location import local_path
from drift.data.table import read_current, read_reference
from drift.errors import DatasetError
from drift.rows import Reference, infer_kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


def test_a_reference_has_its_features_in_model_order(path: Path) -> None:
    """Columns are taken by their number, so that feature_10 follows feature_9 wherever they stand."""
    names = [f"feature_{number}" for number in reversed(range(11))]
    path.write_text(
        ",".join(["target", "prediction", *names]) + "\n" + ",".join(["0", "a", *map(str, range(11))])
    )
    reference = read_reference(path, 100)
    assert reference.schema.feature_names == tuple(f"feature_{number}" for number in range(11))
    assert reference.rows.features.tolist() == [list(map(float, reversed(range(11))))]


def test_missing_features_are_nan_and_labels_are_taken_literally(path: Path) -> None:
    """An empty cell of a feature is missing; a class may well be called NA, null or 1.0."""
    path.write_text("feature_0,prediction\n,NA\n1.5,null\nNaN,1.0\n")
    reference = read_reference(path, 100)
    assert np.isnan(reference.rows.features[:, 0]).tolist() == [True, False, True]
    assert reference.rows.predictions.tolist() == ["NA", "null", "1"]


def test_a_large_dataset_is_sampled_from_all_of_it(path: Path) -> None:
    """Beyond `max_rows`, rows come from everywhere, not from the head, and from the same file the same ones."""
    lines = [f"{number},a" for number in range(60_000)]
    path.write_text("\n".join(["feature_0,prediction", *lines]))
    reference = read_reference(path, 500)
    values = reference.rows.features[:, 0]
    assert (len(values), reference.total_rows) == (500, 60_000)
    assert abs(values.mean() - 30_000) < 5 * 17_320 / np.sqrt(500)
    assert np.array_equal(values, read_reference(path, 500).rows.features[:, 0])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "Reference dataset is empty"),
        ("feature_0,prediction\n", "Reference dataset is empty"),
        (
            "sepal,prediction\n1,a\n",
            r"Reference dataset must contain feature columns \(found sepal, prediction",
        ),
        ("feature_0,feature_2,prediction\n1,2,a\n", "from 0 without gaps"),
        ("feature_0,target\n1,a\n", "must contain the column prediction"),
        (
            "feature_0,prediction\n" + "".join(f"number {n},a\n" for n in range(10_001)),
            "could not convert string to float",
        ),
        ("feature_0,prediction\n1,\n", "has a prediction that is no label"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(path: Path, content: str, sentence: str) -> None:
    """Each refusal says what is wrong, and which file it is."""
    path.write_text(content)
    with pytest.raises(DatasetError, match=sentence) as refused:
        read_reference(path, 100)
    assert str(path) in str(refused.value)


def test_texts_of_the_reference_are_categories(path: Path) -> None:
    """A feature with texts has codes, what is missing is nan, and None is a text as any other."""
    path.write_text("feature_0,feature_1,feature_2,prediction\nsouth,1,1,a\nNone,,2,a\n,2.5,,b\n1,3,1,b\n")
    reference = read_reference(path, 100)
    assert reference.schema.categories == (("1", "None", "south"), (), ())
    expected = [[2, 1, 1], [1, np.nan, 2], [np.nan, 2.5, np.nan], [0, 3, 1]]
    np.testing.assert_array_equal(reference.rows.features, expected)
    path.write_text("feature_0,feature_1,feature_2,prediction\nwest,1,1,a\n1,1,1,a\n")
    current = read_current(path, reference.schema, 100)
    assert current is not None
    np.testing.assert_array_equal(current.features[:, 0], [3, 0])


def test_a_missing_reference_names_the_variable(tmp_path: Path) -> None:
    """What was asked, what is wrong and what to do stand in one sentence."""
    with pytest.raises(DatasetError, match=r"is missing.*nowhere\.csv; set REFERENCE_DATASET_URI"):
        read_reference(tmp_path / "nowhere.csv", 100)


def test_a_current_csv_must_fit_the_reference(path: Path, reference: Reference, reference_csv: Path) -> None:
    """The same columns are taken, other features are refused, and a header alone is no rows."""
    rows = read_current(reference_csv, reference.schema, 100)
    assert rows is not None
    assert len(rows) == 100
    path.write_text("feature_0,prediction\n1,setosa\n")
    with pytest.raises(DatasetError, match="has 1 feature columns where the reference has 4"):
        read_current(path, reference.schema, 100)
    path.write_text("feature_0,feature_1,feature_2,feature_3,prediction\n")
    assert read_current(path, reference.schema, 100) is None


@pytest.mark.parametrize(
    ("predictions", "kind"),
    [
        (["setosa", "1"], "label"),
        (["0", "1", "2"], "label"),
        (["0.0", "1.0"], "label"),
        (["0.5", "1"], "number"),
        ([str(number) for number in range(51)], "number"),
        (["nan", "1.5"], "label"),
    ],
)
def test_numbers_are_told_from_labels(predictions: list[str], kind: str) -> None:
    """Fractions, or more than 50 distinct whole numbers, are a regression; everything else is classes."""
    assert infer_kind(predictions) == kind


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/data/a.csv", "/data/a.csv"),
        ("data/a.csv", "data/a.csv"),
        ("file:///data/a%20b.csv", "/data/a b.csv"),
        ("file://localhost/data", "/data"),
    ],
)
def test_a_location_is_a_path_or_a_file_uri(location: str, path: str) -> None:
    """Both forms name the same file; escapes of the URI are resolved."""
    assert local_path(location) == Path(path)


@pytest.mark.parametrize("name", ["feature_0", "prediction", "target"])
def test_a_column_that_stands_there_twice_is_refused(path: Path, name: str) -> None:
    """Nobody could say which of the two is meant."""
    path.write_text(f"feature_0,prediction,target,{name}\n1.5,a,a,2\n")
    with pytest.raises(DatasetError, match=f"names {name} more than once"):
        read_reference(path, 100)


def test_labels_with_underscores_are_labels(path: Path) -> None:
    """Python reads `1_5e-1` as a number, which a table does not mean."""
    assert infer_kind(["1_5e-1", "2_5e-1"]) == "label"
