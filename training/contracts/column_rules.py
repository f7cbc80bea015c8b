"""What each column of one table must hold: the configuration over what the dataset brings, and what is found.

A column of texts is a category, unless most of its texts are numbers: then it is numbers, and the others are
mistakes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_integer_dtype, is_numeric_dtype

from training.configuration.sections import ColumnSection, ContractSection
from training.data.dataset import Table, says_text
from training.errors import ConfigError

__all__ = ["ColumnRule", "Kind", "limits", "rules_of"]

Kind = Literal["integer", "float", "category", "label", "time", "date", "text"]

#: From this share on, a column of texts is taken for numbers with mistakes in it.
_NUMBERS_RATIO: Final = 0.5
#: Different values that this is judged by.
_JUDGED_VALUES: Final = 1000


@dataclass(frozen=True)
class ColumnRule:
    """What one column must hold; `allowed` are texts, None allows all."""

    name: str
    kind: Kind
    section: ColumnSection
    is_feature: bool
    allowed: tuple[str, ...] | None = None

    @property
    def is_number(self) -> bool:
        """Whether it must hold numbers."""
        return self.kind in ("integer", "float")


def rules_of(
    table: Table, contract: ContractSection, features: tuple[str, ...], classification: bool
) -> list[ColumnRule]:
    """Return a rule for each column that matters and exists: features first, the target last of the named.

    Raises `ConfigError` when a column of texts is given the limits of a number.
    """
    rules: list[ColumnRule] = []
    problems: list[str] = []
    for name in _named(table, contract, features):
        if name not in table.frame.columns:
            continue
        section = _merged(table.columns.get(name), contract.columns.get(name))
        kind = _kind(table, name, section, features, classification)
        allowed = None if section.values is None else tuple(map(str, section.values))
        if kind == "label":
            allowed = contract.classes or allowed or table.classes
        rule = ColumnRule(name, kind, section, name in features and name != table.target, allowed)
        if not rule.is_number and name in contract.columns and limits(contract.columns[name]):
            problems.append(_without_limits(rule))
        rules.append(rule)
    if problems:
        raise ConfigError(problems, source=table.source)
    return rules


def limits(section: ColumnSection) -> str:
    """Return the limits of a column in words, empty when it has none."""
    low, high = section.min, section.max
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"at least {low:g}"
    return "" if high is None else f"at most {high:g}"


def _without_limits(rule: ColumnRule) -> str:
    what = {"label": "the labels of a classifier", "date": "dates", "time": "times"}.get(rule.kind, "texts")
    return (
        f"[contract] columns.{rule.name}: min and max are for numbers, and {rule.name} holds {what}; "
        "remove them" + ("" if rule.kind == "label" else ', or set type = "float" where numbers are meant')
    )


def _named(table: Table, contract: ContractSection, features: tuple[str, ...]) -> Iterator[str]:
    grouped = [name for group in contract.unique for name in group]
    others = [
        *table.beside,
        *(name for name in table.columns if name in table.frame),
        *contract.columns,
        *grouped,
    ]
    yield from dict.fromkeys([*features, table.target, *others])


def _merged(brought: ColumnSection | None, configured: ColumnSection | None) -> ColumnSection:
    if brought is None or configured is None:
        return configured or brought or ColumnSection()
    return brought.model_copy(update={key: getattr(configured, key) for key in configured.model_fields_set})


def _kind(
    table: Table, name: str, section: ColumnSection, features: tuple[str, ...], classification: bool
) -> Kind:
    values = table.frame[name]
    if name == table.target:
        if classification:
            return "label"
        return "integer" if is_integer_dtype(values.dtype) else "float"
    if section.type is not None:
        return section.type
    if name in features:
        return _feature_kind(table, name, section)
    if name == table.time:
        return "time"
    return _found_kind(values) if is_numeric_dtype(values.dtype) else "text"


def _feature_kind(table: Table, name: str, section: ColumnSection) -> Kind:
    if says_text(section):
        return "category"
    return "date" if name in table.temporal else _found_kind(table.frame[name])


def _found_kind(values: pd.Series) -> Kind:
    if is_integer_dtype(values.dtype) or is_bool_dtype(values.dtype):
        return "integer"
    if is_numeric_dtype(values.dtype):
        return "float"
    if is_datetime64_any_dtype(values.dtype):
        return "date"
    judged = pd.Series(values.dropna().unique()[:_JUDGED_VALUES]).astype(str)
    numbers = pd.to_numeric(judged, errors="coerce").notna()
    return "float" if len(judged) and numbers.mean() >= _NUMBERS_RATIO else "category"
