"""Which rows of the table a server must reproduce: the golden rows."""

from collections.abc import Collection
from typing import Final

import numpy as np

from training.fitting.fit import FittedModel

__all__ = ["choose_golden_rows"]

#: About so many rows must reproduce at load: enough to meet every class, few enough to cost nothing.
_GOLDEN_ROWS: Final = 16
_MOST_GOLDEN_ROWS: Final = 256
#: Twice the difference that the server grants a probability: below this margin rounding may choose the class.
_TIE_MARGIN: Final = 2e-4


def choose_golden_rows(model: FittedModel, wanted: Collection[int]) -> list[int]:
    """Return rows of the table: `wanted`, some of every kind of value, and those that tell models apart.

    Half of them or more are the rows about which a classifier is least sure: far from its boundaries another
    model gives the same probabilities.
    """
    chosen = _least_sure_and_spread(model) if model.plan.is_classification else _over_values(model)
    return sorted({*chosen, *_without_ties(model, {*wanted, *_of_every_value(model)})})


def _least_sure_and_spread(model: FittedModel) -> list[int]:
    """Choose rows in turn from each class, evenly over the table, and at least as many of small margins."""
    target = model.targets
    groups = [np.flatnonzero(target == label) for label in model.classes][: _MOST_GOLDEN_ROWS // 2]
    each = -(-_GOLDEN_ROWS // 2 // len(groups))
    spread: list[int] = []
    for group in groups:
        places = np.linspace(0, len(group) - 1, min(each, len(group))).round().astype(int)
        spread += group[places].tolist()
    least_sure = _by_margin(model)[: max(_GOLDEN_ROWS // 2, len(spread))]
    return sorted({*spread, *least_sure})


def _by_margin(model: FittedModel) -> list[int]:
    """Return the rows without a tie, smallest margin between the two most probable classes first."""
    two = np.sort(model.probabilities(model.inputs()), axis=1)[:, -2:]
    margins = two[:, 1] - two[:, 0]
    # Equal margins, as of a single tree, in an order that has nothing to do with that of the table.
    order = np.lexsort((np.random.default_rng(0).permutation(len(margins)), margins))
    return [int(row) for row in order if margins[row] > _TIE_MARGIN]


def _without_ties(model: FittedModel, rows: Collection[int]) -> list[int]:
    if not rows or not model.plan.is_classification:
        return list(rows)
    return sorted(set(_by_margin(model)) & set(rows))


def _over_values(model: FittedModel) -> list[int]:
    """Choose rows evenly over the sorted predictions, the least and the largest among them."""
    order = np.argsort(model.predict(model.inputs()), kind="stable")
    return sorted(set(order[np.linspace(0, len(order) - 1, _GOLDEN_ROWS).round().astype(int)].tolist()))


def _of_every_value(model: FittedModel) -> set[int]:
    """Choose the first row of each category, and of a missing value, of each column where there are such."""
    found: dict[int, None] = {}
    matrix = model.matrix()
    for values, column in zip(matrix.T, model.columns, strict=True):
        kinds = values if column.is_category else np.where(np.isnan(values), np.nan, 0.0)
        if column.is_category or np.isnan(values).any():
            _, first = np.unique(kinds, return_index=True)
            found |= dict.fromkeys(first.tolist())
    return set(list(found)[: _MOST_GOLDEN_ROWS // 2])
