"""The data contract: what is refused, where, and what a valid table becomes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import Config, ContractSection, Range, load_config
from training.contract import MAX_VIOLATIONS, ContractReport, check_contract
from training.dataset import Table, load_table
from training.errors import ConfigError, ContractError, DatasetError, ExitCode

GOOD = pd.DataFrame({"a": np.arange(30) / 10, "n": np.arange(30) % 7, "y": ["u", "v", "w"] * 10})


def check(frame: pd.DataFrame, *, classification: bool = True, **contract: object) -> ContractReport:
    section = ContractSection.model_validate(contract)
    return check_contract(Table("t", "t.csv", frame, "y"), section, classification=classification)


def broken(column: str, row: int, value: object) -> pd.DataFrame:
    frame = GOOD.astype({column: object})
    frame.loc[row - 1, column] = value
    return frame.infer_objects()


def test_iris_is_valid() -> None:
    """The built-in table passes its own contract, in the order of the glossary, labels as text."""
    table = check_contract(load_table(Config()), ContractSection(), classification=True).require_valid()
    assert table.features == ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert table.frame.shape == (150, 5)
    assert set(table.frame["species"]) == {"setosa", "versicolor", "virginica"}


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (broken("a", 5, np.nan), "row 5, a: must not be missing"),
        (broken("a", 5, np.inf), "row 5, a: must be a finite number, also as float32 (found inf)"),
        (broken("a", 5, 1e300), "row 5, a: must be a finite number, also as float32 (found 1e+300)"),
        (broken("a", 5, "oops"), "row 5, a: must be a number (found 'oops')"),
        (broken("a", 5, 99.0), "row 5, a: must be -1 to 50 (found 99.0)"),
        (broken("y", 5, None), "row 5, y: must not be missing"),
        (broken("y", 5, "q"), "row 5, y: must be one of u, v, w (found 'q')"),
    ],
)
def test_bad_value_is_shown_with_its_place(frame: pd.DataFrame, found: str) -> None:
    """Row (first data row is 1), column, value and rule of every violation are in the report."""
    report = check(frame, ranges={"a": Range(min=-1, max=50)}, classes=["u", "v", "w"])
    assert found in [str(violation) for violation in report.violations]
    with pytest.raises(ContractError) as caught:
        report.require_valid()
    assert caught.value.exit_code == ExitCode.CONTRACT


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (GOOD.drop(columns="y"), "y: the column is missing; the table has a, n"),
        (GOOD[["y"]], "table: there is no feature column beside the target"),
        (GOOD.head(5), "table: at least 20 rows are needed (found 5)"),
        (GOOD.assign(y="u"), "y: at least two different labels are needed (found 'u' only)"),
        (broken("y", 5, "q"), "y: class 'q' needs at least 2 rows (found 1)"),
    ],
)
def test_table_as_a_whole_can_break_the_contract(frame: pd.DataFrame, found: str) -> None:
    """Columns, row counts and labels are checked over the whole table."""
    assert found in [str(violation) for violation in check(frame).violations]


def test_violations_are_counted_all_and_listed_in_part() -> None:
    """A table of nothing but errors gives a bounded list and the full count."""
    report = check(GOOD.assign(a=np.nan))
    assert len(report.violations) == MAX_VIOLATIONS
    assert {c.name: c.violations for c in report.checks}["missing"] == 30


def test_regression_wants_numbers_as_target() -> None:
    """A text target under a regressor is a violation; a number is not, whatever its count of values."""
    assert "number" in {c.name for c in check(GOOD, classification=False).checks if c.violations}
    assert check(GOOD.assign(y=np.arange(30) / 3), classification=False).table is not None


def test_valid_table_has_fixed_types_and_a_digest_of_its_content() -> None:
    """Integers stay integers, booleans become them, column order is that of a row, the digest is repeatable."""
    frame = GOOD.assign(flag=[True, False] * 15)[["y", "flag", "n", "a"]]
    table = check(frame).require_valid()
    assert table.features == ("flag", "n", "a")
    assert [str(kind) for kind in table.frame.dtypes[:3]] == ["int64", "int64", "float64"]
    assert table.sha256 == check(frame.copy()).require_valid().sha256
    assert table.sha256 != check(frame.assign(a=frame["a"] + 1)).require_valid().sha256


def test_whole_number_labels_stay_numbers() -> None:
    """Classes 3 and 4 are learned as 3 and 4, also when the file has them as 3.0 and 4.0."""
    table = check(GOOD.assign(y=[3, 4] * 15)).require_valid()
    assert table.frame["y"].tolist()[:2] == [3, 4]
    assert check(GOOD.assign(y=[3.0, 4.0] * 15)).require_valid().frame["y"].tolist()[:2] == ["3", "4"]


@settings(deadline=None)  # wall time, and other work may hold the machine
@given(st.lists(st.floats(width=64), min_size=20, max_size=40))
def test_law_valid_numbers_survive_float32(values: list[float]) -> None:
    """A table is valid exactly when every number is finite as float32, and its CSV reads back the same."""
    frame = pd.DataFrame({"a": values, "y": ["u", "v"] * (len(values) // 2) + ["u"] * (len(values) % 2)})
    report = check(frame)
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(np.asarray(values, dtype=np.float32)).all())
    # Doubles that round up to infinity lie beyond the largest float32 as well.
    assert (report.table is not None) == (finite and max(map(abs, values)) <= np.finfo(np.float32).max)
    if report.table is not None:
        lines = report.table.csv.decode().splitlines()
        assert [float(line.partition(",")[0]) for line in lines[1:]] == values


@pytest.mark.parametrize(
    ("text", "reason", "code"),
    [
        ("", "the file is empty", ExitCode.CONTRACT),
        ("a,y\n1,u,9\n", "a row has more fields than the header", ExitCode.CONTRACT),
        ("a,y\n1,u\n1,u,9\n", "Expected 2 fields in line 3, saw 3", ExitCode.CONTRACT),
        ("a,a,y\n1,2,u\n", "the header names a more than once", ExitCode.CONTRACT),
        ("a,y\n1,\udcff\n", "not UTF-8", ExitCode.CONTRACT),
    ],
)
def test_file_that_is_no_table_is_a_sentence(text: str, reason: str, code: ExitCode) -> None:
    """What cannot be read as CSV says why, and never loses fields silently."""
    Path("t.csv").write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(DatasetError, match=reason) as caught:
        load_table(load_config(None, {"dataset": {"source": "t.csv", "target": "y"}}))
    assert caught.value.exit_code == code


def test_missing_file_and_missing_target_are_wrong_usage() -> None:
    """A wrong path is told with the built-in datasets; a CSV without a target asks for one."""
    with pytest.raises(
        DatasetError, match="does not exist; name an existing CSV file, or a built-in"
    ) as caught:
        load_table(load_config(None, {"dataset": {"source": "t.csv", "target": "y"}}))
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(ConfigError, match="say --target COLUMN"):
        load_table(load_config(None, {"dataset": {"source": "t.csv"}}))


def test_chosen_features_leave_other_columns_out(csv: Callable[[str], Path]) -> None:
    """Columns that are neither feature nor target may hold anything."""
    rows = "".join(f"{i},name{i},{'uv'[i % 2]}\n" for i in range(20))
    dataset = {"source": str(csv("a,id,y\n" + rows)), "target": "y", "features": ["a"]}
    config = load_config(None, {"dataset": dataset})
    table = check_contract(load_table(config), config.contract, classification=True).require_valid()
    assert list(table.frame.columns) == ["a", "y"]
