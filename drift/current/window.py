"""The window: the bounded stretch of current rows that is judged at once.

Rows leave the window by age, and beyond a capacity the window is an unbiased sample of the rows in it: every
row has the same chance, whatever its place in time. The method is priority sampling over a sliding window
(Babcock, Datar, Motwani: "Sampling from a moving window over streaming data", SODA 2002): each row draws a
random priority, and the sample is the `capacity` rows of lowest priority. A row can be forgotten as soon as
`capacity` rows with lower priority will outlive it, which leaves about capacity * (1 + ln(rows / capacity))
rows in memory, however many pass.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.rows import Rows

__all__ = ["Window"]

#: Rows looked at together for those that may still be sampled.
_CHUNK_ROWS: Final = 4096
#: Rows may become so many times more before the window is tidied: more often costs time, less often memory.
_GROWTH: Final = 1.5
#: Small blocks are joined when they are so many.
_MAX_BLOCKS: Final = 256


@dataclass(frozen=True, slots=True)
class _Block:
    timestamps: NDArray[np.float64]
    priorities: NDArray[np.float64]
    rows: Rows

    def __len__(self) -> int:
        return len(self.timestamps)

    def take(self, index: NDArray[np.intp]) -> "_Block":
        return _Block(self.timestamps[index], self.priorities[index], self.rows.take(index))

    @classmethod
    def concatenate(cls, blocks: Sequence["_Block"]) -> "_Block":
        return cls(
            np.concatenate([block.timestamps for block in blocks]),
            np.concatenate([block.priorities for block in blocks]),
            Rows.concatenate([block.rows for block in blocks]),
        )


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
            # Growing by a share keeps the work per row constant.
            self._compact_above = max(2 * self._capacity, int(_GROWTH * self._held))

    def sample(self, now: float) -> Rows | None:
        """Return the rows of the window that ends at `now`, in order of time; None when there are none."""
        self._compact(now)
        if not self._held:
            return None
        timestamps, priorities = self._order()
        chosen = np.arange(self._held)
        if self._held > self._capacity:
            chosen = np.argpartition(priorities, self._capacity)[: self._capacity]
            chosen.sort()
        taken = [block.rows for block in _taken(self._blocks, chosen)]
        return Rows.concatenate(taken).take(np.argsort(timestamps[chosen], kind="stable"))

    def _order(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the timestamps and priorities of all rows, in the order of the blocks."""
        return (
            np.concatenate([block.timestamps for block in self._blocks]),
            np.concatenate([block.priorities for block in self._blocks]),
        )

    def _compact(self, now: float) -> None:
        """Forget what is too old or never sampled again, block by block: all at once would need twice as much."""
        if not self._blocks:
            return
        timestamps, priorities = self._order()
        kept = np.flatnonzero(timestamps >= now - self._range_seconds)
        if len(kept) > self._capacity:
            kept = kept[_undominated(timestamps[kept], priorities[kept], self._capacity)]
            kept.sort()
        self._blocks = _taken(self._blocks, kept)
        self._held = len(kept)


def _taken(blocks: list[_Block], index: NDArray[np.intp]) -> list[_Block]:
    """Return the rows at `index` (ascending, over all blocks), in at most `_MAX_BLOCKS` blocks."""
    ends = np.cumsum([len(block) for block in blocks])
    parts = np.split(index, np.searchsorted(index, ends[:-1]))
    taken = [
        block.take(part - (end - len(block))) if len(part) < len(block) else block
        for block, part, end in zip(blocks, parts, ends, strict=True)
        if len(part)
    ]
    return taken if len(taken) <= _MAX_BLOCKS else [_Block.concatenate(taken)]


def _undominated(
    timestamps: NDArray[np.float64], priorities: NDArray[np.float64], capacity: int
) -> NDArray[np.intp]:
    """Return the rows that may still be sampled: fewer than `capacity` lower priorities outlive them."""
    newest_first = np.lexsort((priorities, -timestamps))
    priorities = priorities[newest_first]
    lowest: list[float] = (-priorities[:capacity]).tolist()  # negated: the head is the highest of the lowest
    heapq.heapify(lowest)
    kept = [np.arange(min(capacity, len(priorities)))]
    for start in range(capacity, len(priorities), _CHUNK_ROWS):
        chunk = priorities[start : start + _CHUNK_ROWS]
        # Most rows are above what is highest now, and it only falls.
        places = np.flatnonzero(chunk < -lowest[0])
        below = [
            place
            for place, priority in zip(places.tolist(), chunk[places].tolist(), strict=True)
            if priority < -heapq.heappushpop(lowest, -priority)
        ]
        kept.append(start + np.array(below, dtype=np.intp))
    return newest_first[np.concatenate(kept)]
