"""The feature columns of a dataset: which there are, and which are of texts."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from drift.data.columns import kind_of, to_texts
from drift.data.content import BrokenContentError
from drift.data.table_file import TableFile

__all__ = ["find_categories", "find_features"]

_FEATURE = re.compile(r"feature_(0|[1-9]\d*)")
_SHAPE = "it needs feature_0..N and prediction, as training writes them to reference.csv of a bundle"
# A column of more texts than this is one of numbers with a mistake in it.
_MAX_CATEGORIES: Final = 10_000


def find_features(columns: list[str]) -> tuple[str, ...]:
    """Return the names of the features in model order. Raises `BrokenContentError`."""
    if not columns:
        raise BrokenContentError("is empty", "give a file with a header and rows")
    repeated = sorted(name for name, times in Counter(columns).items() if name and times > 1)
    if repeated:
        names = ", ".join(repeated)
        raise BrokenContentError(f"names {names} more than once", "give every column its own name")
    numbers = sorted(int(found.group(1)) for name in columns if (found := _FEATURE.fullmatch(name)))
    if not numbers:
        raise BrokenContentError(
            f"must contain feature columns (found {', '.join(columns) or 'none'})", _SHAPE
        )
    if numbers != list(range(len(numbers))):
        listed = ", ".join(f"feature_{number}" for number in numbers)
        reason = f"must number its feature columns from 0 without gaps (found {listed})"
        raise BrokenContentError(reason, _SHAPE)
    if "prediction" not in columns:
        reason = f"must contain the column prediction (found {', '.join(columns)})"
        raise BrokenContentError(reason, _SHAPE)
    return tuple(f"feature_{number}" for number in numbers)


def find_categories(table: TableFile, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the texts of each feature that has any, in their order; nothing when none has, or one too many.

    Raises `BrokenContentError`.
    """
    found = {name: _Texts() for name in names}
    for batch in table.batches((), names, careful=True):
        for name in names:
            found[name].add(text for text in to_texts(batch.column(name)).unique().to_pylist() if text)
    texts = [found[name] for name in names if not found[name].only_numbers]
    if not texts or any(len(one.distinct) > _MAX_CATEGORIES for one in texts):
        return ()
    return tuple(() if found[name].only_numbers else tuple(sorted(found[name].distinct)) for name in names)


class _Texts:
    """The different texts of one feature, as long as they are few."""

    def __init__(self) -> None:
        self.distinct: set[str] = set()
        self._kinds: set[str] = set()

    @property
    def only_numbers(self) -> bool:
        return not self._kinds >= {"number", "truth"} and "text" not in self._kinds

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            if "text" not in self._kinds:
                self._kinds.add(kind_of(text))
            if len(self.distinct) <= _MAX_CATEGORIES:
                self.distinct.add(text)
