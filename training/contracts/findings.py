"""What the checks of a contract found: every violation is counted, so many of each kind are kept."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import Violation

__all__ = ["Findings", "percent", "rows_of", "shown"]

#: A value is shown so far.
_VALUE_LENGTH: Final = 40


class Findings:
    """Violations by the name of their check; of one check in one column at most `limit` are kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._kept: dict[tuple[str, str | None], list[Violation]] = defaultdict(list)

    def __bool__(self) -> bool:
        return self.counts.total() > 0

    def add(self, check: str, violation: Violation) -> None:
        """Add one violation."""
        self.add_many(check, violation.column, 1, [violation])

    def add_many(self, check: str, column: str | None, count: int, violations: Iterable[Violation]) -> None:
        """Add `count` violations of `check` in `column`, the first of which are `violations`."""
        self.counts[check] += count
        kept = self._kept[check, column]
        for violation, _ in zip(violations, range(self.limit - len(kept)), strict=False):
            kept.append(violation)

    def add_rows(
        self, check: str, rule: str, column: str, failing: NDArray[np.bool_], values: pd.Series | None
    ) -> None:
        """Add the rows where `failing` is true; `values` shows what stands there."""
        rows = np.flatnonzero(failing)
        self.add_many(check, column, len(rows), rows_of(rule, column, rows, values))

    def listed(self) -> tuple[Violation, ...]:
        """Return at most `limit` violations: some of each check and column, in the order they were found."""
        ranked = [
            (rank, place, one)
            for place, found in enumerate(self._kept.values())
            for rank, one in enumerate(found)
        ]
        chosen = sorted(ranked, key=lambda item: item[:2])[: self.limit]
        return tuple(one for _, _, one in sorted(chosen, key=lambda item: (item[1], item[0])))


def rows_of(rule: str, column: str, rows: Iterable[int], values: pd.Series | None) -> Iterator[Violation]:
    """Yield a violation for each of `rows`, which count from 0."""
    for row in rows:
        yield Violation(rule, column, int(row) + 1, None if values is None else shown(values.iloc[row]))


def shown(value: object) -> str:
    """Return a value as Python writes it; of a long text the start, and how long it is."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    if len(text) <= _VALUE_LENGTH:
        return text
    length = f" ({len(value)} characters)" if isinstance(value, str) else ""
    return f"{text[: _VALUE_LENGTH - 1]}…{length}"


def percent(ratio: float) -> str:
    """Return a share, 0 to 1, in percent."""
    return f"{100 * ratio:.4g} %"
