"""The window: the bounded stretch of current rows that is judged at once.

Rows leave the window by age, and beyond a capacity the window is an unbiased sample of the rows in it: every
row has the same chance, whatever its place in time. The method is priority sampling over a sliding window
(Babcock, Datar, Motwani: "Sampling from a moving window over streaming data", SODA 2002): each row draws a
random priority, and the sample is the `capacity` rows of lowest priority. A row can be forgotten as soon as
`capacity` rows with lower priority will outlive it, which leaves about capacity * (1 + ln(rows / capacity))
rows in memory, however many pass.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drift.rows import Rows

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class _Block:
    timestamps: NDArray[np.float64]
    priorities: NDArray[np.float64]
    rows: Rows

    def __len__(self) -> int:
        return len(self.timestamps)

    def take(self, index: NDArray[np.intp]) -> "_Block":
        return _Block(self.timestamps[index], self.priorities[index], self.rows.take(index))


class Window:
    """Rows of the last `range_seconds`, at most `capacity` of them at a time."""

    def __init__(self, capacity: int, range_seconds: float, seed: int) -> None:
        self._capacity, self._range_seconds = capacity, range_seconds
        self._random = np.random.default_rng(seed)
        self._blocks: list[_Block] = []
        self._held = 0
        self._compact_above = 2 * capacity
        self._latest = -np.inf

    @property
    def held_rows(self) -> int:
        """How many rows are in memory."""
        return self._held

    def add(self, timestamps: NDArray[np.float64], rows: Rows) -> None:
        """Add rows, and when each was answered (seconds since 1970); they may come in any order."""
        count = len(rows)
        self._latest = max(self._latest, float(timestamps.max(initial=-np.inf)))
        self._blocks.append(_Block(timestamps, self._random.random(count), rows))
        self._held += count
        if self._held > self._compact_above:
            self._compact(self._latest)
            # Doubling keeps the work per row constant.
            self._compact_above = 2 * max(self._capacity, self._held)

    def sample(self, now: float) -> Rows | None:
        """Return the rows of the window that ends at `now`, in order of time; None when there are none."""
        block = self._compact(now)
        if block is None or not len(block):
            return None
        if len(block) > self._capacity:
            lowest = np.argpartition(block.priorities, self._capacity)[: self._capacity]
            block = block.take(lowest)
        return block.take(np.argsort(block.timestamps, kind="stable")).rows

    def _compact(self, now: float) -> _Block | None:
        if not self._blocks:
            return None
        block = _Block(
            np.concatenate([block.timestamps for block in self._blocks]),
            np.concatenate([block.priorities for block in self._blocks]),
            Rows.concatenate([block.rows for block in self._blocks]),
        )
        block = block.take(np.flatnonzero(block.timestamps >= now - self._range_seconds))
        if len(block) > self._capacity:
            block = block.take(_undominated(block, self._capacity))
        self._blocks, self._held = [block], len(block)
        return block


def _undominated(block: _Block, capacity: int) -> NDArray[np.intp]:
    """Return the rows that may still be sampled: fewer than `capacity` lower priorities outlive them."""
    newest_first = np.lexsort((block.priorities, -block.timestamps))
    lowest: list[float] = []  # negated, so that the heap's head is the highest of the lowest
    kept = []
    for index, priority in zip(newest_first.tolist(), block.priorities[newest_first].tolist(), strict=True):
        if len(lowest) < capacity:
            heapq.heappush(lowest, -priority)
        elif priority < -lowest[0]:
            heapq.heapreplace(lowest, -priority)
        else:
            continue
        kept.append(index)
    return np.array(kept, dtype=np.intp)
