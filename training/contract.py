"""The data contract: what a table must satisfy before anything learns from it (pandera checks the columns).

A table that passes becomes a `ValidatedTable`: numbers are int64 or float64, labels are whole numbers or
text, columns stand in the order of a row, and its canonical CSV text has a digest.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from training.config import ContractSection, Range
from training.dataset import Table
from training.errors import ContractError, Violation

__all__ = ["MAX_VIOLATIONS", "Check", "ContractReport", "ValidatedTable", "check_contract"]

#: Violations that a report carries; the counts are of all.
MAX_VIOLATIONS: Final = 20

#: Two are the least that a stratified split can share out.
_MIN_ROWS_PER_CLASS: Final = 2

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_VALUE_LENGTH: Final = 40

#: Longer labels are no names of classes: each goes into the manifest, every answer and the metrics.
_LABEL_LENGTH: Final = 256


@dataclass(frozen=True)
class ValidatedTable:
    """A table that satisfies its contract; `features` in the order of a row."""

    name: str
    source: str
    frame: pd.DataFrame
    target: str
    features: tuple[str, ...]

    @property
    def csv(self) -> bytes:
        """Canonical text: UTF-8, `\\n`, no index, shortest numbers that read back the same."""
        return self.frame.to_csv(index=False, lineterminator="\n").encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of `csv`, 64 lower-case hexadecimal digits."""
        return hashlib.sha256(self.csv).hexdigest()


@dataclass(frozen=True)
class Check:
    """One rule of the contract, and how many times the table breaks it."""

    name: str
    rule: str
    violations: int


@dataclass(frozen=True)
class ContractReport:
    """The outcome of every check; `violations` has the first `MAX_VIOLATIONS`, `table` is set when valid."""

    source: str
    rows: int
    columns: int
    checks: tuple[Check, ...]
    violations: tuple[Violation, ...]
    table: ValidatedTable | None

    def require_valid(self) -> ValidatedTable:
        """Return the validated table. Raises `ContractError` when there is none."""
        if self.table is None:
            total = sum(check.violations for check in self.checks)
            raise ContractError(self.source, self.violations, total)
        return self.table


def check_contract(table: Table, contract: ContractSection, *, classification: bool) -> ContractReport:
    """Check `table`; no violation raises, the report holds them."""
    rules = _Rules(table, contract, classification)
    found = [*_column_violations(table, rules)]
    missing = any(name == "columns" for name, _ in found)
    if not missing:
        found += _pandera_violations(table.frame, rules)
        found += _target_violations(table.frame[table.target], rules)
    counts = Counter(name for name, _ in found)
    return ContractReport(
        source=table.source,
        rows=len(table.frame),
        columns=len(table.frame.columns),
        checks=tuple(Check(name, rule, counts[name]) for name, rule in rules.texts.items()),
        violations=tuple(violation for _, violation in found[:MAX_VIOLATIONS]),
        table=None if found else _validated(table, rules),
    )


class _Rules:
    """The contract of one table: limits of the configuration over those of the dataset."""

    def __init__(self, table: Table, contract: ContractSection, classification: bool) -> None:
        self.target, self.classification, self.min_rows = table.target, classification, contract.min_rows
        columns = [str(name) for name in table.frame.columns]
        self.features = table.features or tuple(name for name in columns if name != table.target)
        self.ranges: Mapping[str, Range] = {**table.ranges, **contract.ranges}
        self.classes = contract.classes or table.classes
        known = f"one of {', '.join(self.classes)}" if self.classes else "at least two different"
        self.texts = {
            "columns": "the features, the target and every column with a range exist",
            "rows": f"at least {contract.min_rows}",
            "missing": "no value is missing",
            "number": "every feature is a number" + ("" if classification else ", and so is the target"),
            "finite": "every number is finite, also as float32",
            "range": "; ".join(f"{name} {_limits(limit)}" for name, limit in self.ranges.items())
            or "no limits are set",
            "labels": known if classification else "at least two different values",
            "rows a class": f"at least {_MIN_ROWS_PER_CLASS}" if classification else "not a classifier",
        }

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that must hold numbers."""
        return self.features if self.classification else (*self.features, self.target)


def _limits(limit: Range) -> str:
    if limit.min is None or limit.max is None:
        return f"at least {limit.min:g}" if limit.min is not None else f"at most {limit.max or 0:g}"
    return f"{limit.min:g} to {limit.max:g}"


def _column_violations(table: Table, rules: _Rules) -> Iterable[tuple[str, Violation]]:
    existing = [str(name) for name in table.frame.columns]
    for name in dict.fromkeys([*rules.features, rules.target, *rules.ranges]):
        if name not in existing:
            rule = f"the column is missing; the table has {', '.join(existing) or 'no columns'}"
            yield "columns", Violation(rule, name)
    if not rules.features:
        yield "columns", Violation("there is no feature column beside the target")
    if rules.target in rules.features:
        yield "columns", Violation("the target cannot be a feature as well", rules.target)
    if len(table.frame) < rules.min_rows:
        yield "rows", Violation(f"at least {rules.min_rows} rows are needed", value=str(len(table.frame)))


def _pandera_violations(frame: pd.DataFrame, rules: _Rules) -> Iterable[tuple[str, Violation]]:
    columns = {name: _number_column(frame[name], rules.ranges.get(name)) for name in rules.numbers}
    if rules.classification:
        columns[rules.target] = _label_column(rules)
    try:
        pa.DataFrameSchema(columns).validate(frame.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return
    for check, column, value, index in zip(
        cases["check"], cases["column"], cases["failure_case"], cases["index"], strict=True
    ):
        if check.startswith("dtype("):
            continue  # said already, row by row, by the coercion
        name, _, rule = _RULES_OF_PANDERA.get(check.partition("(")[0], check).partition(": ")
        place = None if index is None else int(index) + 1
        shown = None if name == "missing" else _shown(value)
        yield name, Violation(rule, str(column), place, shown)


#: pandera's own names of failed checks → check of the report and rule. Ours are written in this form at once.
_RULES_OF_PANDERA: Final = {
    "coerce_dtype": "number: must be a number",
    "not_nullable": "missing: must not be missing",
}


def _number_column(values: pd.Series, limit: Range | None) -> pa.Column:
    whole = is_integer_dtype(values.dtype) or is_bool_dtype(values.dtype)
    checks = [pa.Check(_is_float32, error="finite: must be a finite number, also as float32")]
    if limit is not None:
        checks.append(
            pa.Check(lambda found: _is_within(found, limit), error=f"range: must be {_limits(limit)}")
        )
    return pa.Column("int64" if whole else "float64", checks, coerce=True, nullable=False)


def _label_column(rules: _Rules) -> pa.Column:
    checks = []
    if rules.classes is not None:
        allowed = set(rules.classes)
        error = f"labels: must be one of {', '.join(rules.classes)}"
        checks.append(pa.Check(lambda found: _labels(found).isin(allowed), error=error))
    return pa.Column(None, checks, nullable=False)


def _is_float32(values: pd.Series) -> pd.Series | bool:
    # Text that is no number has its own violation, row by row.
    return not is_numeric_dtype(values.dtype) or values.abs() <= _FLOAT32_MAX


def _is_within(values: pd.Series, limit: Range) -> pd.Series | bool:
    if not is_numeric_dtype(values.dtype):
        return True
    low = -np.inf if limit.min is None else limit.min
    high = np.inf if limit.max is None else limit.max
    return (values >= low) & (values <= high)


def _target_violations(target: pd.Series, rules: _Rules) -> Iterable[tuple[str, Violation]]:
    present = target.reset_index(drop=True).dropna()
    labels = _labels(present) if rules.classification else present
    counts = labels.value_counts().sort_index()
    if len(counts) == 1:
        rule = "at least two different labels are needed"
        yield "labels", Violation(rule, rules.target, value=_shown(counts.index[0]) + " only")
    if not rules.classification:
        return
    too_long = labels[labels.str.len() > _LABEL_LENGTH]
    for index, label in zip(too_long.index.to_list(), too_long.to_list(), strict=True):
        rule = f"a label may have at most {_LABEL_LENGTH} characters"
        yield "labels", Violation(rule, rules.target, index + 1, f"{len(label)}: {_shown(label)}")
    for label, count in counts.items():
        if count < _MIN_ROWS_PER_CLASS:
            rule = f"class {_shown(label)} needs at least {_MIN_ROWS_PER_CLASS} rows"
            yield "rows a class", Violation(rule, rules.target, value=str(count))


def _labels(target: pd.Series) -> pd.Series:
    """Return labels as text; whole numbers that a missing value turned into floats lose their `.0` again."""
    if is_numeric_dtype(target.dtype) and not is_bool_dtype(target.dtype):
        whole = target.dropna()
        if (whole == whole.round()).all():
            target = target.astype("Int64")
    return target.astype(str)


def _validated(table: Table, rules: _Rules) -> ValidatedTable:
    frame = table.frame[[*rules.features, rules.target]].reset_index(drop=True)
    for name in rules.numbers:
        whole = is_integer_dtype(frame[name].dtype) or is_bool_dtype(frame[name].dtype)
        frame[name] = frame[name].astype("int64" if whole else "float64")
    if rules.classification and not is_integer_dtype(frame[rules.target].dtype):
        frame[rules.target] = _labels(frame[rules.target])
    return ValidatedTable(table.name, table.source, frame, rules.target, rules.features)


def _shown(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"
