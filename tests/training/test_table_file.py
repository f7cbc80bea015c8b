"""Files as tables: what is read as what, and one sentence for each file that is no table."""

import bz2
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from training.configuration.config import load_config
from training.configuration.sections import Config
from training.contracts.contract import check_contract
from training.contracts.validated import ValidatedTable
from training.data import csv_file
from training.data.dataset import load_table
from training.errors import ConfigError, DatasetError, ExitCode

ROWS = b"a,b,y\n" + b"".join(b"%d,%.1f,%s\n" % (i, i / 2, b"uv"[i % 2 : i % 2 + 1]) for i in range(40))


def config_of(source: str, **dataset: object) -> Config:
    return load_config(None, {"dataset": {"source": source, "target": "y", **dataset}})


def read(content: bytes, name: str = "t.csv", **dataset: object) -> pd.DataFrame:
    Path(name).write_bytes(content)
    return load_table(config_of(name, **dataset)).frame


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ROWS),
        ("t.csv", b"\xef\xbb\xbf" + ROWS),
        ("t.csv", ROWS.replace(b"\n", b"\r\n")),
        ("t.csv.gz", gzip.compress(ROWS)),
        ("t.csv.bz2", bz2.compress(ROWS)),
        ("t.csv.zst", pa.compress(ROWS, codec="zstd", asbytes=True)),
        ("t", ROWS),
    ],
    ids=["plain", "BOM", "CRLF", "gzip", "bzip2", "zstd", "no ending"],
)
def test_table_is_read_however_it_is_written(name: str, content: bytes) -> None:
    """Compression is found by the content, and a byte order mark is no part of the first name."""
    frame = read(content, name)
    assert list(frame.columns) == ["a", "b", "y"]
    assert [kind.kind for kind in frame.dtypes[:2]] == ["i", "f"]
    assert frame["b"].tolist() == [i / 2 for i in range(40)]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_read_when_they_are_named(delimiter: str) -> None:
    """And when they are not, the sentence says which to name."""
    content = ROWS.replace(b",", delimiter.encode())
    with pytest.raises(
        DatasetError, match=r"its header has 1 column, divided by .* it has 3; set .* delimiter"
    ) as caught:
        read(content)
    assert caught.value.exit_code == ExitCode.CONTRACT
    assert caught.value.remedy == f'set [dataset] delimiter = "{delimiter}"'.replace("\t", r"\t")
    assert read(content, delimiter=delimiter).shape == (40, 3)


def test_values_stay_as_they_are_written() -> None:
    """Dates, times and truth are texts, quotes may hold line breaks, and only named texts are missing."""
    content = b'd,t,flag,n,x,y\n2024-01-01,10:00,true,1,NA,true\n2024-01-02 10:00,,false,,"a\n""b""",false\n'
    frame = read(content)
    assert frame["d"].tolist() == ["2024-01-01", "2024-01-02 10:00"]
    assert frame["t"].tolist()[0] == "10:00"
    assert frame["flag"].tolist() == [True, False]  # a feature that can be counted
    assert frame["y"].tolist() == ["true", "false"]  # a label
    assert np.isnan(frame["n"][1])
    assert frame["x"].tolist() == ["NA", 'a\n"b"']
    assert read(content, missing=["", "NA"])["x"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    "texts", [("01067", "1067"), ("1.10", "1.1"), ("true", "True"), ("0x1", "1"), ("1e3", "1000")]
)
@pytest.mark.parametrize("section", [{"type": "category"}, {"values": ["any text"]}])
def test_what_is_called_a_text_stays_byte_for_byte(
    texts: tuple[str, str], section: dict[str, object]
) -> None:
    """A category that looks like a number, or like truth, is not one; nor is what its allowed values are texts of."""
    content = "c,y\n" + "".join(f"{one},{i}\n" for i, one in enumerate(texts * 12))
    Path("t.csv").write_text(content)
    config = load_config(
        None, {"dataset": {"source": "t.csv", "target": "y"}, "contract": {"columns": {"c": section}}}
    )
    table = load_table(config)
    assert table.frame["c"].tolist() == list(texts * 12)
    report = check_contract(table, config.contract, classification=False)
    if report.table is None:
        assert "values" in section
        assert report.total == 24
    else:
        assert report.table.columns[0].categories == tuple(sorted(texts))


def test_labels_stay_byte_for_byte_and_whole_numbers_stay_numbers() -> None:
    """For a classifier, or with allowed classes; `0` and `1` are the same from CSV and from Parquet."""
    for texts in (
        ("01", "02"),
        ("1.0", "1.5"),
        ("true", "True"),
        ("0x1", "0x2"),
        (str(2**63), str(2**63 + 1)),
    ):
        Path("t.csv").write_text("a,y\n" + "".join(f"{i},{texts[i % 2]}\n" for i in range(24)))
        labels = load_table(config_of("t.csv"), classification=True)
        assert set(labels.frame["y"]) == set(texts)
        report = check_contract(labels, Config().contract, classification=True)
        assert set(report.require_valid().frame["y"]) == set(texts)
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(24)))
    assert load_table(config_of("t.csv"), classification=True).frame["y"].dtype == "int64"
    asked = load_config(
        None, {"dataset": {"source": "u.csv", "target": "y"}, "contract": {"classes": ["01", "1"]}}
    )
    Path("u.csv").write_text("a,y\n1,01\n2,1\n")
    assert load_table(asked).frame["y"].tolist() == ["01", "1"]
    Path("u.csv").write_bytes(b"a,y\n1,01\n2,\xff\n")
    with pytest.raises(DatasetError, match="row 2, y: it is not UTF-8 text"):
        load_table(asked)


@pytest.mark.parametrize(
    "values", [["2024-01-01", "2024-01-02"], ["10:00:00", "11:00:00"], ["2024-01-01T10:00Z"] * 2]
)
def test_date_of_a_csv_file_is_no_feature_unless_it_is_called_a_category(values: list[str]) -> None:
    """The rule of Parquet: dates and times are refused as they were written, and taken when the contract says so."""
    Path("t.csv").write_text("a,d,y\n" + "".join(f"{i},{values[i % 2]},{'uv'[i % 2]}\n" for i in range(24)))
    section = Config().contract
    report = check_contract(load_table(config_of("t.csv")), section, classification=True)
    assert report.total == 24
    assert "take a date apart" in str(report.violations[0])
    assert f"(found '{values[0]}')" in str(report.violations[0])
    sections = {
        "dataset": {"source": "t.csv", "target": "y"},
        "contract": {"columns": {"d": {"type": "category"}}},
    }
    config = load_config(None, sections)
    table = check_contract(load_table(config), config.contract, classification=True).require_valid()
    assert table.columns[1].categories == tuple(sorted(set(values)))


@pytest.mark.parametrize(
    "kind", [pa.time32("s"), pa.time64("us"), pa.duration("s"), pa.date32(), pa.timestamp("s")]
)
def test_no_time_of_a_parquet_file_is_a_feature(kind: pa.DataType) -> None:
    """Times of day and durations are refused as dates are."""
    values = pa.array(range(24), pa.int64() if kind.bit_width == 64 else pa.int32()).cast(kind)
    parquet.write_table(pa.table({"a": range(24), "d": values, "y": ["u", "v"] * 12}), "t.parquet")
    report = check_contract(load_table(config_of("t.parquet")), Config().contract, classification=True)
    assert report.total == 24
    assert "take a date apart" in str(report.violations[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,y\n1,u,9\n", "row 1 has 3 fields and the header has 2"),
        (b"a,y\n1,u\n\n1\n", "row 2 has 1 field and the header has 2"),
        (b"a,a,y\n1,2,u\n", "the header names a more than once"),
        (b",a,y\n0,2,u\n", "column 1 has no name in the header"),
        (b"a,y\n1,u\n2,\xff\n", "row 2, y: it is not UTF-8 text"),
        (b"a" * 200_000 + b",y\n1,u\n", "its header cannot be read: field larger than field limit"),
        (b"\xe4,y\n1,u\n", "its header is not UTF-8 text"),
        ("a,y\n1,u\n".encode("utf-16"), "it is not UTF-8 text but UTF-16"),
        (b'a,y\n1,u\n2,"v\n3,u\n', r'a quote \("\) that is opened in row 2 is never closed'),
        (gzip.compress(ROWS * 1000)[:-30], "its content is damaged or cut off"),
        (b"PAR1" + ROWS, "it is a Parquet file and is read as CSV"),
        (b"a,y", "it has a header and no rows"),
        (b"a\0b,y\n1,u\n", r"the name of column 1, 'a\\x00b', holds a control character"),
        (bytes(1000), "it is no CSV but NUL bytes"),
        (b"PK\3\4" + bytes(200), "it is no CSV but a ZIP archive, such as an Excel workbook"),
        (gzip.compress(b' [{"a": 1, "y": "u"}]'), "it is no CSV but JSON"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is no CSV but a page of HTML or XML"),
    ],
    ids=[
        *("empty", "blank", "wide", "narrow", "twice", "unnamed", "latin", "long", "header", "utf16", "quote", "cut"),
        *("parquet", "no rows", "NUL in a name", "NULs", "zip", "json", "html"),
    ],
)  # fmt: skip
def test_file_that_is_no_table_is_a_sentence(content: bytes, reason: str) -> None:
    """What cannot be read as CSV says why, and never loses fields or rows silently."""
    with pytest.raises(DatasetError, match=f"t.csv cannot be read: .*{reason}") as caught:
        read(content)
    assert caught.value.exit_code == ExitCode.CONTRACT


def test_quote_that_swallows_a_large_file_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the longest row that is read, the quote is not found, but named as what to look for."""
    monkeypatch.setattr(csv_file, "_LONGEST_ROW", 1 << 20)
    with pytest.raises(DatasetError, match="a row is longer than 1 MiB; look for a quote"):
        read(b'a,y\n1,u\n2,"' + b"v\n" * (2 << 20))


def test_parquet_is_read_with_plain_types() -> None:
    """Dictionaries become text, decimals numbers, and an index of pandas no feature."""
    frame = pd.DataFrame(
        {"c": pd.Categorical(["r", "s"] * 20), "x": np.arange(40, dtype="float32"), "y": ["u", "v"] * 20}
    )
    frame.index = pd.Index(range(5, 45), name=None)
    table = pa.Table.from_pandas(frame, preserve_index=True)
    table = table.append_column("d", pa.array(map(Decimal, range(40)), type=pa.decimal128(5, 2)))
    parquet.write_table(table, "t.parquet")
    found = load_table(config_of("t.parquet")).frame
    assert list(found.columns) == ["c", "x", "y", "d"]
    assert [str(found[name].dtype) for name in "xd"] == ["float64", "float64"]
    assert found["c"].tolist()[:2] == ["r", "s"]
    assert list(load_table(config_of("t.parquet", features=["x"])).frame.columns) == ["x", "y"]


def test_broken_parquet_is_a_sentence() -> None:
    """A part of a file, a damaged one, and one that is none at all."""
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=5000), "y": ["u", "v"] * 2500})
    frame.to_parquet("whole.parquet", write_page_checksum=True)
    whole = Path("whole.parquet").read_bytes()
    for content, reason in (
        (whole[:3000], "it is not a Parquet file, or only a part of one"),
        (ROWS, "it is not a Parquet file, or only a part of one"),
        (whole[:100] + bytes(2000) + whole[2100:], ""),
    ):
        with pytest.raises(DatasetError, match=f"t.parquet cannot be read: {reason}") as caught:
            read(content, "t.parquet")
        assert caught.value.exit_code == ExitCode.CONTRACT


def test_missing_file_and_missing_target_are_wrong_usage() -> None:
    """A wrong path is told with the built-in datasets; a file without a target asks for one."""
    Path("here").mkdir()
    for source, found in (
        ("t.csv", "the file does not exist"),
        ("file:///nowhere/t.csv", "the file does not exist"),
        ("here", "it is a directory"),
        ("x" * 5000, "File name too long"),
        ("ftp://host/t.csv", "tables at ftp:// are not supported"),
    ):
        with pytest.raises(
            DatasetError, match=f"{found}; (name an existing CSV or Parquet|give a path)"
        ) as caught:
            load_table(config_of(source))
        assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(ConfigError, match="say --target COLUMN"):
        load_table(load_config(None, {"dataset": {"source": "t.csv"}}))


def test_missing_file_names_every_built_in_dataset() -> None:
    """What could have been meant."""
    from training.data.dataset import BUILT_IN_DATASETS

    with pytest.raises(DatasetError, match=rf"built-in dataset \({', '.join(BUILT_IN_DATASETS)}\)"):
        load_table(config_of("irs"))


def test_uri_of_a_file_is_its_path() -> None:
    """With what a URI must escape."""
    Path("my table.csv").write_bytes(ROWS)
    assert len(load_table(config_of(f"file://{Path.cwd()}/my%20table.csv")).frame) == 40


def test_chosen_features_leave_other_columns_out(csv: Callable[[str], Path]) -> None:
    """Columns that are neither feature nor target may hold anything."""
    rows = "".join(f"{i},name{i},{'uv'[i % 2]}\n" for i in range(20))
    config = config_of(str(csv("a,id,y\n" + rows)), features=["a"])
    table = check_contract(load_table(config), config.contract, classification=True).require_valid()
    assert list(table.frame.columns) == ["a", "y"]


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(allow_nan=True, allow_infinity=False), _TEXTS | st.none()),
        min_size=2,
        max_size=20,
    ),
    st.sampled_from(["w.csv", "w.parquet"]),
)
def test_law_what_is_written_is_read_the_same(rows: list[tuple[float, str | None]], name: str) -> None:
    """Texts with quotes and line breaks, whole floats, missing values: the digest stays the same."""
    frame = pd.DataFrame(rows, columns=["x", "c"]).assign(y=range(len(rows)))
    frame["c"] = ["t" if index == 0 else f"t{text}" if text else None for index, (_, text) in enumerate(rows)]
    frame.loc[0, "x"] = 0.5
    before = ValidatedTable("w", "w", frame, "y", ("x", "c"))
    before.write(Path(name))
    after = load_table(config_of(name)).frame
    assert ValidatedTable("w", "w", after, "y", ("x", "c")).sha256 == before.sha256
