"""The data contract: what is refused, where, and what a valid table becomes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.inference.v1.manifest_pb2 import FeatureType
from training.configuration.config import load_config
from training.configuration.sections import Config, ContractSection, SplitSection
from training.contracts.contract import MAX_VIOLATIONS, ContractReport, ValidatedTable, check_contract
from training.data.columns import Column, encode_rows
from training.data.dataset import Table, load_table
from training.errors import ConfigError, ContractError, ExitCode

GOOD = pd.DataFrame({"a": np.arange(30) / 10, "n": np.arange(30) % 7, "y": ["u", "v", "w"] * 10})


def check(
    frame: pd.DataFrame, *, classification: bool = True, split: SplitSection | None = None, **contract: object
) -> ContractReport:
    section = ContractSection.model_validate(contract)
    group, time = (split.group, split.time) if split else (None, None)
    table = Table("t", "t.csv", frame, "y", group=group, time=time)
    return check_contract(table, section, classification=classification, split=split)


def said(report: ContractReport) -> list[str]:
    return [str(violation) for violation in report.violations]


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


def test_diabetes_is_valid_for_regression() -> None:
    """The other built-in table passes its own contract as well."""
    config = load_config(None, {"dataset": {"source": "diabetes"}})
    table = check_contract(load_table(config), ContractSection(), classification=False).require_valid()
    assert table.frame.shape == (442, 11)
    assert table.target == "progression"


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (
            broken("a", 5, np.nan),
            'row 5, a: must not be missing, unless [contract.columns] says "a" = { nullable = true }',
        ),
        (broken("a", 5, np.inf), "row 5, a: must be a finite number, also as float32 (found inf)"),
        (broken("a", 5, 1e300), "row 5, a: must be a finite number, also as float32 (found 1e+300)"),
        (broken("a", 5, "oops"), "row 5, a: must be a number (found 'oops')"),
        (
            broken("a", 5, "N/A"),
            "row 5, a: must be a number; if this stands for a missing value in a CSV file, "
            """set [dataset] missing = ["", "N/A"] (found 'N/A')""",
        ),
        (broken("a", 5, 99.0), "row 5, a: must be -1 to 50 (found 99.0)"),
        (broken("y", 5, None), "row 5, y: must not be missing"),
        (broken("y", 5, "q"), "row 5, y: must be one of u, v, w (found 'q')"),
    ],
)
def test_bad_value_is_shown_with_its_place(frame: pd.DataFrame, found: str) -> None:
    """Row (first data row is 1), column, value and rule of every violation are in the report."""
    report = check(frame, columns={"a": {"min": -1.0, "max": 50.0}}, classes=["u", "v", "w"])
    assert found in said(report)
    with pytest.raises(ContractError) as caught:
        report.require_valid()
    assert caught.value.exit_code == ExitCode.CONTRACT


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (GOOD.drop(columns="y"), "y: the column is missing; the table has a, n"),
        (GOOD[["y"]], "table: there is no feature column beside the target"),
        (GOOD.head(5), "table: at least 20 rows are needed (found 5)"),
        (
            GOOD.assign(n=pd.Timestamp("2024-01-01")),
            "row 1, n: must be a number or a text: take a date apart",
        ),
        (GOOD.assign(y="u"), "y: at least two different labels are needed (found 'u' only)"),
        (broken("y", 5, "q"), "y: class 'q' needs at least 2 rows (found 1)"),
    ],
)
def test_table_as_a_whole_can_break_the_contract(frame: pd.DataFrame, found: str) -> None:
    """Columns, row counts and labels are checked over the whole table."""
    assert any(one.startswith(found) for one in said(check(frame)))


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


CATEGORIES = GOOD.assign(c=["red", "green", None] * 10, k=[3, 1, 2] * 10)


def test_texts_are_categories_and_may_be_missing_where_that_is_said() -> None:
    """The codes of a category are in the order of `values`, else of its texts; NaN and empty texts are missing."""
    columns = {
        "c": {"nullable": True},
        "k": {"type": "category", "values": [3, 1, 2]},
        "a": {"nullable": True},
    }
    frame = CATEGORIES.assign(a=CATEGORIES["a"].where(CATEGORIES["a"] > 1), c=CATEGORIES["c"].fillna(""))
    table = check(frame, columns=columns).require_valid()
    kinds = FeatureType
    assert table.columns == (
        Column("a", kinds.FEATURE_TYPE_FLOAT, nullable=True),
        Column("n", kinds.FEATURE_TYPE_INTEGER),
        Column("c", kinds.FEATURE_TYPE_CATEGORY, True, ("green", "red")),
        Column("k", kinds.FEATURE_TYPE_CATEGORY, False, ("3", "1", "2")),
    )
    assert table.frame["c"].isna().sum() == 10
    assert table.frame["k"].tolist()[:3] == ["3", "1", "2"]


def test_unknown_text_is_refused_or_missing_as_the_configuration_says() -> None:
    """The table is treated as a server will treat a request."""
    rule = {"values": ["red"], "nullable": True}
    assert "row 2, c: must be one of red (found 'green')" in said(check(CATEGORIES, columns={"c": rule}))
    table = check(CATEGORIES, columns={"c": {**rule, "unknown": "missing"}}).require_valid()
    assert set(table.frame["c"].dropna()) == {"red"}
    assert table.columns[2] == Column("c", FeatureType.FEATURE_TYPE_CATEGORY, True, ("red",), True)


@pytest.mark.parametrize(
    ("frame", "contract", "found"),
    [
        (
            GOOD.assign(n=GOOD["a"]),
            {"columns": {"n": {"type": "integer"}}},
            "row 2, n: must be a whole number (found 0.1)",
        ),
        (GOOD, {"columns": {"a": {"type": "category", "values": ["x"]}}}, "row 1, a: must be one of x (found 0.0)"),
        (GOOD, {"columns": {"n": {"values": [0, 1, 2, 3]}}}, "row 5, n: must be one of 0, 1, 2, 3 (found 4)"),
        (GOOD, {"columns": {"n": {"unique": True}}}, "row 8, n: must stand there once only (found 0)"),
        (GOOD, {"unique": [["n", "y"]]}, "row 22, n, y: must stand there once only, and row 1 has the same"),
        (GOOD, {"max_rows": 29}, "table: at most 29 rows are allowed (found 30)"),
        (GOOD, {"columns": {"q": {}}}, "q: the column is missing; the table has a, n, y"),
        (
            GOOD.assign(y=["u"] * 27 + ["v"] * 3),
            {"min_class_ratio": 0.2},
            "y: class 'v' needs at least 20 % of the rows (found 10 %)",
        ),
        (
            pd.concat([GOOD, GOOD.head(3)]),
            {"max_duplicate_ratio": 0.05},
            "row 31: repeats row 1, of which at most 5 % may, and 9.091 % do",
        ),
        (
            pd.concat([GOOD] * 50).assign(c=[f"text {i}" for i in range(1500)]),
            {},
            "c: it is no number, and a category may have at most 1024 different texts: leave the column out of "
            "[dataset] features, or turn it into numbers (found 1500 different texts)",
        ),
        (
            GOOD.assign(c=["x" * 300] + ["y"] * 29),
            {},
            f"row 1, c: a category may have at most 256 characters (found '{'x' * 38}… (300 characters))",
        ),
    ],
)  # fmt: skip
def test_contract_asks_for_more(frame: pd.DataFrame, contract: dict[str, object], found: str) -> None:
    """Types, allowed values, uniqueness, balance, duplicates, categories: each has a sentence with its place."""
    report = check(frame, **contract)
    assert found in said(report)
    assert report.table is None


def test_duplicates_are_told_even_when_they_are_allowed() -> None:
    """The report says what was found, not only whether it is too much."""
    found = {one.name: one.found for one in check(pd.concat([GOOD, GOOD.head(3)])).checks}
    assert found["duplicates"] == "3 (9.091 %)"
    assert found["rows a class"] == "3 classes, the smallest 'u' with 11 rows (33.33 %)"


def test_leakage_into_held_out_rows_is_found_with_both_rows() -> None:
    """A held-out row whose features were fitted on measures memory, not learning."""
    frame = pd.concat([GOOD, GOOD], ignore_index=True)
    split = SplitSection(test_ratio=0.5, kind="random")
    report = check(frame, split=split, max_leakage_ratio=0.1)
    (violation, *_) = [one for one in report.violations if "is held out" in one.rule]
    assert violation.row is not None
    other = (violation.row - 1 + 30) % 60 + 1
    assert f"row {other}, which is fitted on, has the same features" in violation.rule
    assert check(frame, split=split).table is not None
    assert check(GOOD, split=split, max_leakage_ratio=0.0).table is not None


def test_columns_of_the_split_are_kept_and_are_no_features() -> None:
    """Groups and times go with the table, in types that can be compared, and the model never sees them."""
    frame = GOOD.assign(day=[f"2024-03-{1 + i:02d}T10:00:00+02:00" for i in range(30)])
    split = SplitSection(kind="time", time="day")
    table = check(frame, split=split).require_valid()
    assert table.features == ("a", "n")
    assert list(table.frame.columns) == ["a", "n", "day", "y"]
    assert table.frame["day"].iloc[0] == pd.Timestamp("2024-03-01T08:00:00Z")
    broken_day = frame.assign(day=["soon", *frame["day"][1:]])
    assert (
        "row 1, day: must be a number or a time, such as 2024-12-31 or 2024-12-31T18:00:00Z (found 'soon')"
        in said(check(broken_day, split=split))
    )


def test_rows_that_do_not_suffice_for_the_split_are_found_before_training() -> None:
    """One group cannot be held out of itself."""
    frame = pd.concat([GOOD, GOOD], ignore_index=True).assign(g="one")
    report = check(frame, split=SplitSection(kind="grouped", group="g"))
    assert {one.name: one.violations for one in report.checks}["split"] == 1


@pytest.mark.parametrize("column", ["c", "y"])
def test_control_character_in_a_text_is_refused_with_its_row(column: str) -> None:
    """NUL, an escape or a line break in a category or a label: row, column and what to do."""
    for text in ("A\0", "B\x1b[31m", "C\nD"):
        frame = GOOD.assign(c=["x", "z"] * 15)
        frame.loc[[4, 5], column] = text
        (found, _) = said(check(frame))
        what = "category" if column == "c" else "label"
        rule = f"a {what} may hold no control character (NUL, tab, line break): remove it from the table"
        assert found == f"row 5, {column}: {rule} (found {text!r})"


@pytest.mark.parametrize(
    "values",
    [np.array([2**63, 2**64 - 1], dtype="uint64"), np.array([1e30, 2e30]), np.array([-1e19, float(2**63)])],
    ids=["uint64", "float", "at the bound"],
)
def test_whole_numbers_beyond_int64_are_texts(values: np.ndarray) -> None:
    """As label and as category: int64 holds none of them, and each stays another text."""
    frame = GOOD.assign(y=np.tile(values, 15), c=np.tile(values, 15))
    table = check(frame, columns={"c": {"type": "category"}}).require_valid()
    assert set(table.frame["y"]) == set(table.frame["c"]) == set(map(str, values))


@pytest.mark.parametrize("column", ["c", "y"])
def test_limits_of_a_text_are_wrong_usage(column: str) -> None:
    """`min` of a category or a label could not be checked, and is not passed over."""
    frame = GOOD.assign(c=["x", "z"] * 15)
    with pytest.raises(
        ConfigError, match=rf"\[contract\] columns.{column}: min and max are for numbers"
    ) as caught:
        check(frame, columns={column: {"min": 1.0}})
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("limit", ["nan", "inf"])
def test_limit_that_is_no_number_is_wrong_usage(limit: str) -> None:
    """No value is above nan, so such a contract would refuse everything or nothing."""
    with pytest.raises(ConfigError, match=r"columns\.a\.min: input should be a finite number"):
        load_config(None, {"contract": {"columns": {"a": {"min": float(limit)}}}})


def test_each_kind_of_violation_is_listed() -> None:
    """A column of nothing but errors does not push the others out of a short list."""
    frame = GOOD.assign(a=np.nan, n=[99, *GOOD["n"][1:]])
    report = check(frame, columns={"n": {"max": 50.0}})
    assert len(report.violations) == MAX_VIOLATIONS
    assert "row 1, n: must be at most 50 (found 99)" in said(report)


def test_number_as_the_target_of_a_classifier_is_one_sentence() -> None:
    """And not a violation for each of its values."""
    frame = pd.DataFrame({"a": np.arange(2000) / 7, "y": np.arange(2000) / 3})
    (found,) = said(check(frame))
    assert found == (
        "y: a classifier tells at most 1024 classes apart: choose a regressor as [estimator] class, or another "
        "[dataset] target (found 2000 different labels)"
    )


_CELLS = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=4),
        st.binary(max_size=2),
    ),
    *(st.dates(), st.lists(st.integers(), max_size=2), st.decimals(allow_nan=False)),
)
_COLUMNS = st.one_of(
    st.lists(_CELLS, min_size=24, max_size=24),
    *(
        st.lists(cells, min_size=24, max_size=24)
        for cells in (st.integers(-5, 5), st.floats(), st.text("ab ", max_size=2))
    ),
)


@settings(deadline=None, max_examples=200)
@given(_COLUMNS, _COLUMNS, _COLUMNS, st.booleans(), st.booleans())
def test_law_any_table_gets_a_report_and_a_valid_one_can_be_learned_from(
    a: list[object], b: list[object], y: list[object], nullable: bool, classification: bool
) -> None:
    """Whatever stands in the cells: nothing raises, and the matrix of a valid table is missing what may be missing."""
    try:
        frame = pd.DataFrame({"a": a, "b": b, "y": y})
    except (TypeError, ValueError, OverflowError):
        return  # pandas has no such table
    columns = {"a": {"nullable": nullable}, "b": {"nullable": nullable}}
    report = check(frame, classification=classification, columns=columns)
    assert (report.table is None) == (report.total > 0)
    if report.table is not None:
        matrix = encode_rows(report.table.frame, report.table.columns)
        assert not np.isinf(matrix).any()
        assert nullable or not np.isnan(matrix).any()


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=4, max_size=30), st.integers(0, 5))
def test_law_a_digest_is_of_the_content(texts: list[str | None], place: int) -> None:
    """The same from Python objects and from Arrow's texts, and another as soon as one value is another."""
    plain = pd.DataFrame({"c": pd.Series(texts, dtype=object), "y": range(len(texts))})
    arrow = plain.astype({"c": "str"})
    digests = {ValidatedTable("t", "t", frame, "y", ("c",)).sha256 for frame in (plain, arrow)}
    changed = plain.copy()
    place %= len(texts)
    changed.loc[place, "c"] = "another" if texts[place] != "another" else None
    digests.add(ValidatedTable("t", "t", changed, "y", ("c",)).sha256)
    assert len(digests) == 2
