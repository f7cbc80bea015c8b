"""The rules of single columns as a pandera schema: whole columns at a time, all failures of all columns at once.

pandera runs the checks and tells which failed; the failing rows are read from what each check returned, because
pandera's own list of a million of them takes minutes.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from training.contracts.column_rules import limits
from training.contracts.column_values import TypedColumn
from training.contracts.findings import Findings
from training.errors import Violation

__all__ = ["MAX_CATEGORIES", "TEXT_LENGTH", "check_columns"]

#: Each category and label stands in the manifest, which servers hold in memory and answer with. A column with
#: more is a name, an address or free text, from which a code learns nothing.
MAX_CATEGORIES: Final = 1024
TEXT_LENGTH: Final = 256

#: The C0 set of ISO 6429: NUL, tab, line breaks, escape. They end a text early in C, or a line in a log, and steer
#: the terminal that shows them.
_CONTROL: Final = re.compile(r"[\x00-\x1f]")

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
#: Allowed values are listed so far.
_LISTED_VALUES: Final = 10
_WORDS: Final = {
    "integer": "must be a whole number",
    "float": "must be a number",
    "date": "must be a number or a text: take a date apart into numbers, leave it out of [dataset] features, or say "
    'type = "category"',
    "time": "must be a number or a time, such as 2024-12-31 or 2024-12-31T18:00:00Z",
}

_MISSING: Final = "must not be missing"
#: Texts by which programs write that nothing stands there (pandas, R, SQL, spreadsheets), in small letters; a
#: column that is refused for these alone needs `missing`, not other values.
_MISSING_TEXTS: Final = frozenset({"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."})

_Mask = Callable[[pd.Series], pd.Series]


def check_columns(columns: Mapping[str, TypedColumn], findings: Findings) -> None:
    """Check every column against its rule, and add every failure of every one to `findings`."""
    for column in columns.values():
        for failed in _failures(column):
            name, _, rule = str(failed.check.error).partition(": ")
            values = None if name == "missing" else column.raw
            failing = ~failed.check_output.to_numpy(dtype=bool)
            if name in {"number", "values", "labels"}:
                rule += _missing_remedy(column.raw[failing])
            findings.add_rows(name, rule, column.rule.name, failing, values)
        _check_categories(column, findings)


def _missing_remedy(refused: pd.Series) -> str:
    """Return what to do where the refused texts are those that stand for a missing value; else nothing."""
    texts: set[str] = set()
    for one in map(str, refused):
        if one.strip().lower() not in _MISSING_TEXTS:
            return ""
        texts.add(one)
    quoted = ", ".join(json.dumps(one) for one in ("", *sorted(texts)))
    return f"; if this stands for a missing value in a CSV file, set [dataset] missing = [{quoted}]"


def _failures(column: TypedColumn) -> list[pa.errors.SchemaError]:
    """Return what pandera says about one column; a schema of all of them would copy the whole table."""
    # Types were settled when the column was made; nulls are one check among others, so that all are counted.
    schema = pa.SeriesSchema(None, [_check(*one) for one in _checks(column)], nullable=True)
    try:
        schema.validate(column.values, lazy=True, inplace=True)
    except pa.errors.SchemaErrors as errors:
        return list(errors.schema_errors)
    return []


def _check(name: str, rule: str, holds: _Mask) -> pa.Check:
    return pa.Check(holds, error=f"{name}: {rule}", ignore_na=False, n_failure_cases=1)


def _checks(column: TypedColumn) -> Iterable[tuple[str, str, _Mask]]:
    rule, section = column.rule, column.rule.section
    required = rule.kind in ("label", "time") or not section.nullable
    if rule.kind == "text" and not rule.section.model_fields_set:
        return  # a column of the split, or of a group: any value will do
    if required and column.missing.any():
        remedy = "" if rule.kind in ("label", "time") or not rule.is_feature else _nullable_remedy(rule.name)
        yield "missing", _MISSING + remedy, lambda _: pd.Series(~column.missing)
    if column.wrong.any():
        yield (
            "number",
            _WORDS.get(rule.kind, "must be a number or a text"),
            lambda _: pd.Series(~column.wrong),
        )
    if rule.is_number and is_numeric_dtype(column.values.dtype):
        yield from _number_checks(column)
    elif not rule.is_number and rule.kind not in ("time", "date"):
        yield from _text_checks(column)
    if rule.allowed is not None:
        error = f"must be one of {_listed(rule.allowed)}"
        yield "labels" if rule.kind == "label" else "values", error, lambda found: _is_allowed(found, column)
    if section.unique:
        yield "unique", "must stand there once only", lambda found: ~found.duplicated() | found.isna()


def _nullable_remedy(name: str) -> str:
    return f", unless [contract.columns] says {json.dumps(name, ensure_ascii=False)} = {{ nullable = true }}"


def _number_checks(column: TypedColumn) -> Iterable[tuple[str, str, _Mask]]:
    section = column.rule.section
    if not is_integer_dtype(column.values.dtype):
        error = "must be a finite number, also as float32"
        yield "finite", error, lambda found: (found.abs() <= _FLOAT32_MAX) | found.isna()
    if limits(section):
        low = -np.inf if section.min is None else section.min
        high = np.inf if section.max is None else section.max
        yield "range", f"must be {limits(section)}", lambda found: found.between(low, high) | found.isna()


def _text_checks(column: TypedColumn) -> Iterable[tuple[str, str, _Mask]]:
    if is_integer_dtype(column.values.dtype):
        return
    what = "label" if column.rule.kind == "label" else "category"
    name = "labels" if what == "label" else "values"
    if column.rule.kind in ("label", "category"):
        error = f"a {what} may have at most {TEXT_LENGTH} characters"
        yield name, error, lambda found: ~(found.str.len() > TEXT_LENGTH).astype(bool)
        error = f"a {what} may hold no control character (NUL, tab, line break): remove it from the table"
        yield name, error, _has_no_control


def _has_no_control(values: pd.Series) -> pd.Series:
    # Different texts are few where rows are many, and each is looked at once.
    found = [text for text in values.dropna().unique() if _CONTROL.search(text)]
    return ~values.isin(found)


def _is_allowed(values: pd.Series, column: TypedColumn) -> pd.Series:
    allowed = set(column.rule.allowed or ())
    if column.rule.is_number:
        return values.isin({float(one) for one in allowed if _is_number(one)}) | values.isna()
    return values.astype(str).isin(allowed) | values.isna()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_categories(column: TypedColumn, findings: Findings) -> None:
    if column.rule.kind != "category" or column.rule.allowed is not None:
        return
    count = column.values.nunique()
    if count > MAX_CATEGORIES:
        rule = (
            f"it is no number, and a category may have at most {MAX_CATEGORIES} different texts: leave the column "
            "out of [dataset] features, or turn it into numbers"
        )
        findings.add("values", Violation(rule, column.rule.name, value=f"{count} different texts"))


def _listed(values: tuple[str, ...]) -> str:
    more = len(values) - _LISTED_VALUES
    return ", ".join(values[:_LISTED_VALUES]) + (f" and {more} more" if more > 0 else "")
