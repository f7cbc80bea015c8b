"""CSV files as people and programs write them: what is read, and the sentences for what cannot be."""

import csv
import gzip
import io
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from drift.data.table import read_current, read_reference
from drift.errors import DatasetError

ROOT = Path(__file__).parents[3]
HEAD = "feature_0,feature_1,prediction\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


def refused(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError) as caught:
        read_reference(path, 100)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_line_ends_byte_order_mark_and_blank_lines_are_of_no_account(
    path: Path, ends: str, start: str
) -> None:
    """Programs write them differently, and people leave lines blank."""
    lines = ['"feature_0",feature_1,prediction', "1, 2.5 ,a", "", "   ", '"3","4","x, ""y"""', ""]
    path.write_bytes((start + "\n".join(lines)).replace("\n", ends).encode())
    rows = read_reference(path, 100).rows
    assert rows.features.tolist() == [[1, 2.5], [3, 4]]
    assert rows.predictions.tolist() == ["a", 'x, "y"']


def test_line_breaks_in_quotes_belong_to_the_text(path: Path) -> None:
    """In a header, a label and a category."""
    path.write_text('feature_0,"a\nb",prediction\n"one\n\ntwo",7,"x\ny"\n"3",8,z')
    reference = read_reference(path, 100)
    assert reference.schema.categories == (("3", "one\n\ntwo"),)
    assert reference.rows.predictions.tolist() == ["x\ny", "z"]


def test_numbers_are_read_exactly(path: Path) -> None:
    """To the last bit, however they are written; what is infinite stays so."""
    written = [
        "0.1",
        "5e-324",
        "1.7976931348623157e308",
        "+1.5",
        "1e400",
        "-Infinity",
        ".5",
        "1.",
        "9007199254740993",
    ]
    path.write_text("feature_0,prediction\n" + "".join(f"{number},a\n" for number in written))
    assert read_reference(path, 100).rows.features[:, 0].tolist() == [float(number) for number in written]


def test_truth_is_a_number(path: Path) -> None:
    """Training writes features of pandas' bool so; with numbers beside it, it is a category."""
    path.write_text("feature_0,feature_1,prediction\nTrue,true,a\n,2.5,b\nFalse,false,a\n")
    reference = read_reference(path, 100)
    assert reference.schema.categories == ((), ("2.5", "false", "true"))
    np.testing.assert_array_equal(reference.rows.features[:, 0], [1, np.nan, 0])


def test_targets_and_confidences_are_read_where_they_are(path: Path) -> None:
    """A target may be unknown and a confidence missing; a column that is nowhere is None."""
    path.write_text("confidence,feature_0,prediction,target\n0.75,1,a,a\n,2,1.0,\n1.0000001,3,a,NA\n")
    rows = read_reference(path, 100).rows
    assert rows.targets is not None
    assert rows.confidences is not None
    assert rows.targets.tolist() == ["a", None, "NA"]
    np.testing.assert_array_equal(rows.confidences, [0.75, np.nan, 1.0])
    path.write_text("feature_0,prediction,target,confidence\n1,a,,\n")
    rows = read_reference(path, 100).rows
    assert (rows.targets, rows.confidences) == (None, None)


def test_targets_of_numbers_are_numbers(path: Path) -> None:
    """Where predictions are numbers, a missing target is NaN."""
    path.write_text("feature_0,prediction,target\n1,0.5,1\n2,1.5,NaN\n3,2,2.5\n")
    reference = read_reference(path, 100)
    assert reference.schema.kind == "number"
    assert reference.rows.targets is not None
    np.testing.assert_array_equal(reference.rows.targets, [1, np.nan, 2.5])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (HEAD + "1,2,a\n1,2\n", "cannot be read (row 2 has 2 fields and the header has 3)"),
        (HEAD + "1,2,a,b\n", "cannot be read (row 1 has 4 fields and the header has 3)"),
        (HEAD + '1,2,"a\n1,2,b\n', "is opened and never closed"),
        (HEAD + '1,"2,a\n1,2,b\n', "cannot be read (row 1 has 2 fields and the header has 3)"),
        (HEAD.encode() + b"1,2,\xe4\n", "is not UTF-8 text"),
        ("feature_0,prädiktion\n".encode("latin-1"), "its header: it is not UTF-8 text"),
        (HEAD.encode("utf-16"), "cannot be read (it is UTF-16 text)"),
        (b"PK\x03\x04....", "it is a ZIP archive"),
        ("<!DOCTYPE html>\n<p>", "it is a page of HTML"),
        ('[{"feature_0": 1}]', "it is JSON"),
        (HEAD + "1,2," + "x" * (9 << 20) + "\n", "a row is longer than 8 MiB"),
        ("x," * (1 << 20), "no line ends within 1 MiB"),
        ("x" * (1 << 20), "field larger than field limit"),
        ("\n\n", "Reference dataset is empty"),
        (gzip.compress(b""), "Reference dataset is empty"),
        (gzip.compress(HEAD.encode() + b"1,2,a\n" * 999)[:-9], "Compressed file ended"),
        (b"\x1f\x8b" + b"nonsense" * 9, "cannot be read ("),
        (
            HEAD.replace("_1", "_1,confidence") + "1,2,1.5,a\n",
            "has a confidence that is no share from 0 to 1 (1.5)",
        ),
        (
            HEAD.replace("_1", "_1,confidence") + "1,2,much,a\n",
            "confidence of row 1: could not convert string",
        ),
        (
            HEAD.replace("\n", ",target\n") + "1,2,0.5,a\n",
            "has a target that is no number, as the predictions are",
        ),
    ],
)
def test_a_file_that_is_no_dataset_is_refused(path: Path, content: str | bytes, sentence: str) -> None:
    """What is wrong, where it stands, and which file it is."""
    assert sentence in refused(path, content)


def test_a_current_text_for_a_number_is_found(path: Path) -> None:
    """The column and the row are named, however far down they stand."""
    path.write_text(HEAD + "1,2,a\n")
    schema = read_reference(path, 100).schema
    path.write_text(HEAD + "1,2,a\n" * 30_000 + "1,two,a\n")
    with pytest.raises(DatasetError, match=r"Current dataset .*feature_1 of row 30001: .*'two'"):
        read_current(path, schema, 100)


@pytest.mark.parametrize("packed", [False, True])
def test_reading_again_begins_at_the_start(path: Path, packed: bool) -> None:
    """What the quick way reads ahead when it gives up does not move the file under the slow way."""
    content = (HEAD + "north,2,a\n" + "1,2.5,a\n" * 150_000).encode()
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    for _ in range(5):
        assert read_reference(path, 100).total_rows == 150_001


def test_a_quote_in_a_text_is_no_open_quote(path: Path) -> None:
    """Inches are written with one."""
    path.write_text(HEAD + '1,2,5" pipe\n1,2,b\n')
    assert read_reference(path, 100).rows.predictions.tolist() == ['5" pipe', "b"]


@pytest.mark.parametrize("name", ["data.csv.gz", "data.csv", "data"])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    """Whatever the name says; several members in one file are one text."""
    path = tmp_path / name
    path.write_bytes(gzip.compress((HEAD + "1,2,a\n").encode()) + gzip.compress(b"3,4,b\n"))
    assert read_reference(path, 100).rows.features.tolist() == [[1, 2], [3, 4]]


def test_pandas_is_not_imported(path: Path) -> None:
    """Arrow imports it in many of its functions, which would cost the service 40 MiB."""
    path.write_text("feature_0,feature_1,confidence,prediction,target\n1,a,0.5,x,\n,b,,y,x\n")
    script = """
import sys, types
package = types.ModuleType("drift")  # what else the package imports is not this test's
package.__path__ = [sys.argv[1] + "/drift"]
sys.modules["drift"] = package
from drift.data.table import read_reference
assert len(read_reference(sys.argv[2], 1).rows) == 1
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(path)], check=True, timeout=60)


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
_NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**18), 10**18) | st.just("")


def _expected_number(cell: object) -> float:
    return math.nan if cell == "" else float(str(cell))


@given(
    rows=st.lists(st.tuples(_NUMBERS, _TEXTS | st.just(""), _TEXTS), min_size=1, max_size=20),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\r\n", "\n"]),
    packed=st.booleans(),
)
@example(rows=[(1.5, "\r", "a\r\nb")], quoting=csv.QUOTE_MINIMAL, line_end="\r\n", packed=False)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_what_python_writes_is_read_back(
    path: Path, rows: Sequence[tuple[object, str, str]], quoting: int, line_end: str, packed: bool
) -> None:
    """Numbers to the last bit, and every label and category as it was."""
    # Before 3.13 Python does not quote a lone \\r when lines end otherwise, and cannot read it back itself.
    assume(
        line_end == "\r\n"
        or quoting != csv.QUOTE_MINIMAL
        or not any("\r" in "".join(row[1:]) for row in rows)
    )
    target = io.StringIO(newline="")
    writer = csv.writer(target, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerow(["feature_0", "feature_1", "prediction"])
    writer.writerows([*rows, (0, "no number", "no number")])
    content = target.getvalue().encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    reference = read_reference(path, 100)
    found = reference.rows
    categories = (*reference.schema.categories[1], "")
    codes = [len(categories) - 1 if math.isnan(code) else int(code) for code in found.features[:, 1]]
    np.testing.assert_array_equal(found.features[:-1, 0], [_expected_number(row[0]) for row in rows])
    assert [categories[code] for code in codes[:-1]] == [row[1] for row in rows]
    expected = reference.schema.predictions([row[2] for row in rows]).tolist()
    assert found.predictions[:-1].tolist() == expected
