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

from training.configuration.config import Config, load_config
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
    ],
    ids=[
        *("empty", "blank", "wide", "narrow", "twice", "unnamed", "latin", "long", "header", "utf16", "quote", "cut"),
        "parquet",
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
