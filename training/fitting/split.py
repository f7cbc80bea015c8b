"""Which rows are held out: at random, by class, by group, or the last in time."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
    train_test_split,
)

from training.configuration.sections import SplitSection
from training.contracts.validated import ValidatedTable
from training.errors import ContractError, Violation

__all__ = ["Kind", "fold_rows", "kind_of", "split_rows", "targets_of"]

Kind = Literal["random", "stratified", "grouped", "time"]
_Rows = NDArray[np.int64]

#: A model that was fitted on fewer rows says nothing.
_FEWEST_ROWS: Final = 2


def kind_of(split: SplitSection, classification: bool) -> Kind:
    """Return how rows are held out when the configuration leaves it open, too."""
    return split.kind or ("stratified" if classification else "random")


def targets_of(table: ValidatedTable) -> NDArray[Any]:
    """Return the label or number of each row, as an estimator takes it."""
    values = table.frame[table.target]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf":
        return values.to_numpy()
    # Different labels are few where rows are many. A NumPy text array: skops stores it without objects.
    places, labels = pd.factorize(values, use_na_sentinel=False)
    return np.asarray([str(label) for label in labels])[places]


def split_rows(table: ValidatedTable, split: SplitSection, classification: bool) -> tuple[_Rows, _Rows]:
    """Return the rows to fit on and the rows held out, the same for the same table and seed.

    Raises `ContractError` when the rows do not suffice, or a class stands among the held-out rows only.
    """
    kind, targets, rows = kind_of(split, classification), targets_of(table), np.arange(len(table.frame))
    try:
        if kind == "grouped":
            shuffle = GroupShuffleSplit(1, test_size=split.test_ratio, random_state=split.seed)
            train, test = next(shuffle.split(rows, groups=_groups(table, split)))
        elif kind == "time":
            train, test = _last_rows(table, split)
        else:
            train, test = train_test_split(
                rows,
                test_size=split.test_ratio,
                random_state=split.seed,
                stratify=targets if kind == "stratified" else None,
            )
    except ValueError as error:
        reason = f"the rows do not suffice for [split] test_ratio = {split.test_ratio:g}: {error}"
        raise ContractError(table.source, [Violation(reason)], 1) from None
    if classification:
        _require_classes(table, kind, targets[train], targets[test])
    return train, test


def fold_rows(
    table: ValidatedTable, split: SplitSection, classification: bool, train: _Rows
) -> Iterator[tuple[_Rows, _Rows]]:
    """Yield (rows to fit on, rows to measure on) of each fold of `train`. Raises `ContractError`."""
    kind, targets, rows = kind_of(split, classification), targets_of(table), np.sort(train)
    groups = _groups(table, split)[rows] if kind == "grouped" else None
    if kind == "time":
        rows = rows[np.argsort(table.frame[split.time].to_numpy()[rows], kind="stable")]
    try:
        if kind == "stratified":
            _require_rows_a_fold(targets[rows], split.folds)
        for inner, outer in _folds(kind, split).split(rows, targets[rows], groups):
            yield rows[inner], rows[outer]
    except ValueError as error:
        reason = f"the rows do not suffice for [split] folds = {split.folds}: {error}"
        raise ContractError(table.source, [Violation(reason)], 1) from None


def _folds(kind: Kind, split: SplitSection) -> Any:  # noqa: ANN401 (they share no base with a type)
    if kind == "grouped":
        return GroupKFold(split.folds)
    if kind == "time":
        return TimeSeriesSplit(split.folds)
    kfold = StratifiedKFold if kind == "stratified" else KFold
    return kfold(split.folds, shuffle=True, random_state=split.seed)


def _require_rows_a_fold(targets: NDArray[Any], folds: int) -> None:
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    if smallest < folds:  # scikit-learn would only warn
        raise ValueError(f"the smallest class has {smallest} of the rows that are fitted on")


def _groups(table: ValidatedTable, split: SplitSection) -> NDArray[np.int64]:
    """Return a number for each row's group; a missing name is a group of its own."""
    codes, _ = pd.factorize(table.frame[split.group], use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64)


def _last_rows(table: ValidatedTable, split: SplitSection) -> tuple[_Rows, _Rows]:
    """Hold the latest rows out; rows of the same time as the first of them are held out, too."""
    times = table.frame[split.time]
    order = np.argsort(times.to_numpy(), kind="stable")
    ordered = times.iloc[order].to_numpy()
    cut = len(order) - max(1, round(split.test_ratio * len(order)))
    cut = int(np.flatnonzero(ordered == ordered[cut])[0])
    if cut < _FEWEST_ROWS:
        raise ValueError(f"{cut} rows are before the time {ordered[cut]}, at which the held-out rows begin")
    return order[:cut], order[cut:]


def _require_classes(table: ValidatedTable, kind: Kind, train: NDArray[Any], test: NDArray[Any]) -> None:
    """Raise `ContractError` unless the labels of `train` are two at least, and all that `test` has."""
    fitted = set(np.unique(train).tolist())
    unseen = sorted(map(str, set(np.unique(test).tolist()) - fitted))
    if not unseen and len(fitted) > 1:
        return
    reason = f'by [split] kind = "{kind}" no row of the class {", ".join(unseen)} is left to fit on'
    if not unseen:
        reason = f'by [split] kind = "{kind}" only rows of the class {fitted.pop()} are left to fit on'
    raise ContractError(table.source, [Violation(reason, table.target)], 1)
