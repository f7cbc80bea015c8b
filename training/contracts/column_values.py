"""The values of a column in the type that its rule asks for, and which of them could not be made so."""

import datetime
import decimal
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_integer_dtype, is_numeric_dtype

from training.contracts.column_rules import ColumnRule

__all__ = ["TypedColumn", "plain_cells", "texts_of", "typed"]

_ODD: Final = object()

#: From here on a whole number is beyond int64.
_BEYOND_INT64: Final = float(2**63)


@dataclass(frozen=True)
class TypedColumn:
    """A column as it will be validated: `raw` as found, `values` typed, `wrong` where that was impossible."""

    rule: ColumnRule
    raw: pd.Series
    values: pd.Series
    wrong: NDArray[np.bool_]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where nothing stands."""
        absent: NDArray[np.bool_] = self.values.isna().to_numpy() & ~self.wrong
        return absent


def plain_cells(values: pd.Series) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Return a column with nothing but numbers, texts and None in it, and where something else stood.

    Only columns of Python objects can hold such things: lists and bytes of a Parquet file, say.
    """
    if values.dtype != object:
        return values, np.zeros(len(values), dtype=bool)
    plain = [_plain(one) for one in values]
    odd = np.array([one is _ODD for one in plain], dtype=bool)
    cells = [None if one is _ODD else one for one in plain]
    return pd.Series(cells, index=values.index, dtype=object), odd


def _plain(cell: object) -> object:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return None
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, decimal.Decimal):
        return float(cell)
    return cell if isinstance(cell, (str, bool, int, float)) else _ODD


def typed(raw: pd.Series, plain: pd.Series, odd: NDArray[np.bool_], rule: ColumnRule) -> TypedColumn:
    """Return the column in the type of its rule: numbers, timestamps, or text with NaN for what is missing.

    `plain` and `odd` are what `plain_cells` made of `raw`.
    """
    values, wrong = _converted(plain, rule)
    return TypedColumn(rule, raw, values, wrong | odd)


def _converted(raw: pd.Series, rule: ColumnRule) -> tuple[pd.Series, NDArray[np.bool_]]:
    if rule.is_number:
        values, wrong = _numbers(raw, whole=rule.kind == "integer")
    elif rule.kind == "time" and not is_numeric_dtype(raw.dtype):
        values = pd.to_datetime(raw, errors="coerce", format="ISO8601", utc=True)
        wrong = (values.isna() & raw.notna()).to_numpy()
    elif rule.kind in ("time", "date"):
        values, wrong = raw, np.full(len(raw), rule.kind == "date")
    else:
        values, wrong = texts_of(raw), np.zeros(len(raw), dtype=bool)
        if rule.kind == "label" and is_integer_dtype(raw.dtype) and not _is_beyond_int64(raw):
            values = raw
        if rule.section.unknown == "missing" and rule.allowed is not None:
            values = values.where(values.isin(rule.allowed))  # as the server will take it
    return values, wrong


def texts_of(values: pd.Series) -> pd.Series:
    """Return values as text, NaN for what is missing and for an empty text.

    Whole numbers that a missing value turned into floats lose their `.0` again.
    """
    if is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype):
        whole = values.dropna()
        is_whole = np.isfinite(whole).all() and (whole == whole.round()).all()
        if is_whole and values.dtype != "uint64" and not _is_beyond_int64(whole):
            values = values.astype("Int64")
    texts = values if isinstance(values.dtype, pd.StringDtype) else values.astype(str)
    return texts.where(values.notna() & (texts != ""))


def _is_beyond_int64(values: pd.Series) -> bool:
    return bool((values.abs() >= _BEYOND_INT64).any()) if values.dtype.kind in "uf" else False


def _numbers(raw: pd.Series, *, whole: bool) -> tuple[pd.Series, NDArray[np.bool_]]:
    if is_bool_dtype(raw.dtype):
        return raw.astype("int64"), np.zeros(len(raw), dtype=bool)
    if is_datetime64_any_dtype(raw.dtype):
        return raw, np.ones(len(raw), dtype=bool)
    if is_integer_dtype(raw.dtype) and raw.dtype.kind in "iu" and raw.dtype != "uint64" and not raw.hasnans:
        return raw.astype("int64"), np.zeros(len(raw), dtype=bool)
    if is_numeric_dtype(raw.dtype):
        values, wrong = raw.astype("float64"), np.zeros(len(raw), dtype=bool)
    else:
        values = pd.to_numeric(raw, errors="coerce").astype("float64")
        wrong = (values.isna() & raw.notna()).to_numpy()
    if whole:
        with np.errstate(invalid="ignore"):
            wrong = wrong | (values.notna() & np.isfinite(values) & (values != values.round())).to_numpy()
        if not wrong.any() and np.isfinite(values).all():
            return values.astype("int64"), wrong
    return values, wrong
