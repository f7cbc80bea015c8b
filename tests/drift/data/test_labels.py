"""Labels that arrive late: what is read, what counts, and which rows they belong to."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from drift.accuracy.realised import realised
from drift.data.labels import Labels, join, read_labels
from drift.errors import DatasetError
from drift.rows import Rows, Schema, row_key

LABELS = Schema(("feature_0",), "label")
NUMBERS = Schema(("feature_0",), "number")


def keys(*places: tuple[str, int, int]) -> NDArray[np.int64]:
    return np.array([row_key(*place) for place in places], dtype=np.int64)


def label_of(labels: Labels, place: tuple[str, int, int]) -> object:
    return dict(zip(labels.keys.tolist(), labels.values.tolist(), strict=True))[row_key(*place)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_an_event_id_alone_names_the_first_row(path: Path) -> None:
    """Most events have one row: `part` and `row` are 0 where nothing else is written."""
    path.write_text('event_id,label\ne1,setosa\ne2,"virginica"\n')
    wanted = keys(("e1", 0, 0), ("e2", 0, 0), ("e3", 0, 0))
    labels = read_labels(path, LABELS, wanted)
    assert len(labels) == 2
    assert label_of(labels, ("e2", 0, 0)) == "virginica"


def test_part_and_row_name_the_others(path: Path) -> None:
    """A request of many rows has a label for each, an empty cell is 0, and columns may stand in any order."""
    path.write_text("row,label,noise,event_id,part\n,a,x,e1,\n1,b,x,e1,0\n1,c,x,e1,2\n")
    places = (("e1", 0, 0), ("e1", 0, 1), ("e1", 2, 1))
    labels = read_labels(path, LABELS, keys(*places))
    assert [label_of(labels, place) for place in places] == ["a", "b", "c"]


def test_what_does_not_count_is_counted(path: Path) -> None:
    """The last label of a row wins; rows outside the window and empty labels are no labels."""
    path.write_text("event_id,label\ne1,a\nother,b\ne1,c\ne2,\nother,b\n")
    labels = read_labels(path, LABELS, keys(("e1", 0, 0), ("e2", 0, 0)))
    assert labels.values.tolist() == ["c"]
    counts = (labels.total_rows, labels.unknown_rows, labels.repeated_rows, labels.empty_rows)
    assert counts == (5, 2, 1, 1)


def test_labels_that_do_not_say_of_which_row_are_left_alone(path: Path) -> None:
    """Three labels of an event of three rows would all be taken for its first; a note asks for the column row."""
    path.write_text("event_id,label\ne1,a\ne1,b\ne2,c\n")
    wanted = keys(("e1", 0, 0), ("e1", 0, 1), ("e2", 0, 0))
    labels = read_labels(path, LABELS, wanted)
    assert (labels.values.tolist(), labels.ambiguous_rows) == (["c"], 2)
    (note,) = labels.notes()
    assert note.startswith("2 labels are of events with several rows and do not say of which")
    path.write_text("event_id,label,row\ne1,a,0\ne1,b,1\ne2,c,0\n")
    labels = read_labels(path, LABELS, wanted)
    assert (len(labels), labels.notes()) == (3, ())


def test_labels_of_which_none_belongs_to_the_window_are_said(path: Path) -> None:
    """Such as those with another id than that of the event; some that belong nowhere are nothing unusual."""
    path.write_text("event_id,label\nr1,a\nr2,b\n")
    (note,) = read_labels(path, LABELS, keys(("e1", 0, 0))).notes()
    assert note.startswith("none of 2 labels belongs to a row of the window")
    assert read_labels(path, LABELS, keys(("r1", 0, 0))).notes() == ()


def test_labels_take_the_form_of_predictions(path: Path) -> None:
    """A class is the same whether it is written 1, 1.0 or "1"; of a regression labels are numbers."""
    path.write_text("event_id,label\ne1,1.0\ne2,2\ne3,NA\n")
    wanted = keys(("e1", 0, 0), ("e2", 0, 0), ("e3", 0, 0))
    labels = read_labels(path, LABELS, wanted)
    assert label_of(labels, ("e1", 0, 0)) == "1"
    assert label_of(labels, ("e3", 0, 0)) == "NA"
    numbers = read_labels(path, NUMBERS, wanted)
    assert numbers.values.dtype == np.float64
    assert (numbers.empty_rows, label_of(numbers, ("e2", 0, 0))) == (1, 2.0)


@pytest.mark.parametrize("values", [["a", "b"], [1, 2], [1.0, 2.0], [True, False]])
def test_parquet_is_read_with_its_types(tmp_path: Path, values: list[object]) -> None:
    """Columns may be texts, numbers or truth values, and texts a dictionary."""
    path = tmp_path / "labels.parquet"
    columns = {
        "event_id": pa.array(["e1", "e2"]).dictionary_encode(),
        "label": values,
        "row": pa.array([None, 3]),
    }
    parquet.write_table(pa.table(columns), path)
    places = (("e1", 0, 0), ("e2", 0, 3))
    labels = read_labels(path.as_uri(), LABELS, keys(*places))
    found = [label_of(labels, place) for place in places]
    assert found == LABELS.predictions([str(value) for value in values]).tolist()


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    """The content tells that it is compressed, not the name."""
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(b"event_id,label\ne1,a\n"))
    assert read_labels(path, LABELS, keys(("e1", 0, 0))).values.tolist() == ["a"]


def test_only_labels_of_the_window_are_kept(path: Path) -> None:
    """Of a file of any length only what the window needs stays in memory."""
    path.write_text("event_id,label\n" + "".join(f"e{number},a\n" for number in range(100_000)))
    labels = read_labels(path, LABELS, keys(("e99999", 0, 0)))
    assert (len(labels), labels.total_rows, labels.unknown_rows) == (1, 100_000, 99_999)


def test_a_header_alone_means_that_no_label_arrived_yet(path: Path) -> None:
    """Labels come late, so that there may be none: no row changes."""
    path.write_text("event_id,label\n")
    labels = read_labels(path, LABELS, keys(("e1", 0, 0)))
    assert (len(labels), labels.total_rows) == (0, 0)
    rows = Rows(np.zeros((1, 1)), np.array(["a"], dtype=object), keys=keys(("e1", 0, 0)))
    assert join(rows, labels).targets is None


@pytest.mark.parametrize(
    ("content", "schema", "sentence"),
    [
        ("", LABELS, "Labels dataset is empty"),
        ("id,value\n1,2\n", LABELS, "must contain the column event_id and the column label .found id, value"),
        ("event_id,label,label\ne1,a,b\n", LABELS, "names label more than once"),
        (
            "event_id,label\ne1,high\n",
            NUMBERS,
            "has a label that is no number, as the predictions are .*high",
        ),
        ("event_id,label,row\nx,a,1\ne1,a,first\n", LABELS, "row of row 2: .*'first'.*whole numbers from 0"),
        ("event_id,label,part\ne1,a,-1\n", LABELS, "part of row 1"),
        ("event_id,label,part\ne1,a,0.5\n", LABELS, "part of row 1"),
        ("event_id,label\ne1,a,b\n", LABELS, "row 1 has 3 fields and the header has 2|has 3 fields"),
    ],
)
def test_labels_that_cannot_be_are_refused(path: Path, content: str, schema: Schema, sentence: str) -> None:
    """Each refusal says what is wrong, where, and what to do."""
    path.write_text(content)
    with pytest.raises(DatasetError, match=sentence) as refused:
        read_labels(path, schema, keys(("e1", 0, 0)))
    assert str(path) in str(refused.value)


def test_missing_labels_name_the_variable(tmp_path: Path) -> None:
    """What was asked, what is wrong and what to do stand in one sentence."""
    with pytest.raises(DatasetError, match=r"Labels dataset .*nowhere\.csv; set LABELS_URI"):
        read_labels(tmp_path / "nowhere.csv", LABELS, keys(("e1", 0, 0)))


def test_joined_rows_have_a_realised_accuracy(path: Path) -> None:
    """Rows in any order get their own label; those without one keep the target that they had, or none."""
    path.write_text("event_id,label,row\ne1,a,0\ne1,b,1\ne2,b,0\n")
    wanted = keys(("e3", 0, 0), ("e2", 0, 0), ("e1", 0, 1), ("e1", 0, 0))
    rows = Rows(np.zeros((4, 1)), np.array(["a", "a", "b", "a"], dtype=object), keys=wanted)
    labels = read_labels(path, LABELS, wanted)
    joined = join(rows, labels)
    assert joined.targets is not None
    assert joined.targets.tolist() == [None, "b", "b", "a"]
    accuracy = realised(joined)
    assert accuracy is not None
    assert (accuracy.value, accuracy.rows) == (pytest.approx(2 / 3), 3)
    known = Rows(rows.features, rows.predictions, None, np.array(["z"] * 4, dtype=object), wanted)
    again = join(known, labels)
    assert again.targets is not None
    assert again.targets.tolist() == ["z", "b", "b", "a"]
    assert known.targets is not None
    assert known.targets.tolist() == ["z"] * 4
    assert join(Rows(rows.features, rows.predictions), labels).targets is None


def test_numbers_are_joined_as_numbers(path: Path) -> None:
    """Of a regression a label that is not known yet is NaN."""
    path.write_text("event_id,label\ne1,1.5\n")
    wanted = keys(("e1", 0, 0), ("e2", 0, 0))
    rows = join(Rows(np.zeros((2, 1)), np.ones(2), keys=wanted), read_labels(path, NUMBERS, wanted))
    assert rows.targets is not None
    np.testing.assert_array_equal(rows.targets, [1.5, np.nan])
