"""Rules that compare rows with each other: uniqueness of groups, duplicates, leakage into what is held out.

Rows are compared by a 64-bit hash of their values: among a million rows the odds of one false match are
about one to forty million.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from training.configuration.sections import ContractSection
from training.contracts.findings import Findings, percent
from training.errors import Violation

__all__ = ["check_duplicates", "check_groups", "check_leakage", "hash_rows"]

_Hashes = NDArray[np.uint64]

#: Odd, so that no bit of what was added before is lost.
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MISSING: Final = np.uint64(0x5851F42D4C957F2D)


def hash_rows(frame: pd.DataFrame, columns: Sequence[str]) -> _Hashes:
    """Return one number a row, equal for rows that have equal values in `columns`, missing ones included."""
    total = np.zeros(len(frame), dtype=np.uint64)
    for name in columns:
        total = total * _FACTOR + _hash_column(frame[name])
        total ^= total >> np.uint64(29)
    return total


def check_groups(frame: pd.DataFrame, contract: ContractSection, findings: Findings) -> None:
    """Find rows that repeat the values of a group of columns that must be unique."""
    for group in contract.unique:
        if not set(group) <= set(frame.columns):
            continue
        hashes = hash_rows(frame, group)
        again = _repeats(hashes)
        names = ", ".join(group)
        found = (
            Violation(
                f"must stand there once only, and row {_first(hashes, row)} has the same", names, row + 1
            )
            for row in map(int, again)
        )
        findings.add_many("unique", names, len(again), found)


def check_duplicates(frame: pd.DataFrame, contract: ContractSection, findings: Findings) -> str:
    """Find rows that repeat another row; return what was found in words."""
    hashes = hash_rows(frame, list(map(str, frame.columns)))
    again = _repeats(hashes)
    ratio = len(again) / max(1, len(frame))
    if ratio > contract.max_duplicate_ratio:
        most = f"at most {percent(contract.max_duplicate_ratio)} may, and {percent(ratio)} do"
        found = (
            Violation(f"repeats row {_first(hashes, row)}, of which {most}", None, row + 1)
            for row in map(int, again)
        )
        findings.add_many("duplicates", None, len(again), found)
    return f"{len(again)} ({percent(ratio)})"


def check_leakage(
    features: _Hashes, train: NDArray[np.int64], test: NDArray[np.int64], most: float, findings: Findings
) -> str:
    """Find held-out rows whose features stand among those fitted on; return what was found in words."""
    leaked = test[np.isin(features[test], features[train])]
    ratio = len(leaked) / max(1, len(test))
    if ratio > most:
        allowed = f"at most {percent(most)} may, and {percent(ratio)} do"
        found = (
            Violation(
                f"is held out, and row {train[features[train] == features[row]][0] + 1}, which is fitted on, has the "
                f"same features, of which {allowed}",
                None,
                int(row) + 1,
            )
            for row in leaked
        )
        findings.add_many("leakage", None, len(leaked), found)
    return f"{len(leaked)} of {len(test)} ({percent(ratio)})"


def _repeats(hashes: _Hashes) -> NDArray[np.intp]:
    return np.flatnonzero(pd.Series(hashes).duplicated().to_numpy())


def _first(hashes: _Hashes, row: int) -> int:
    return int(np.argmax(hashes == hashes[row])) + 1


def _hash_column(values: pd.Series) -> _Hashes:
    if is_datetime64_any_dtype(values.dtype):
        values = values.astype("int64")
    if is_numeric_dtype(values.dtype):
        numbers = values.to_numpy()
        if numbers.dtype.kind == "f":
            numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # -0.0 is 0.0, and NaN is NaN
        return pd.util.hash_array(numbers)
    encoded = pc.dictionary_encode(
        pa.array(values.astype(str).where(values.notna(), None), type=pa.large_string())
    )
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = pd.util.hash_array(np.asarray(encoded.dictionary.to_pylist(), dtype=object), categorize=False)
    codes = pc.fill_null(encoded.indices, len(known)).to_numpy(zero_copy_only=False)
    hashes: _Hashes = np.append(known, _MISSING)[codes]
    return hashes
