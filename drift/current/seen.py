"""What was read before: ids of the window, in arrays, so that a million of them take 16 MB."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_REMEMBERED", "SeenIds"]

#: Ids remembered, 16 MB of them; beyond it the oldest are forgotten.
MAX_REMEMBERED: Final = 1_000_000
#: New ids are kept apart until they are so many, since adding to a sorted array moves all of it.
_YOUNG: Final = 65_536

_Ids = NDArray[np.int64]
_Times = NDArray[np.float64]


class SeenIds:
    """Ids (hashes of 64 bits), each with the time that it may be forgotten by."""

    def __init__(self, capacity: int = MAX_REMEMBERED) -> None:
        self._capacity = capacity
        self._old = _Sorted.empty()
        self._young = _Sorted.empty()
        #: Ids up to this time may have been forgotten for want of room.
        self.forgotten_until = -np.inf

    def __len__(self) -> int:
        return len(self._old.ids) + len(self._young.ids)

    def add(self, ids: _Ids, times: _Times) -> NDArray[np.bool_]:
        """Remember ids; return which of them are new, of equal ones the first."""
        _, first = np.unique(ids, return_index=True)
        new = np.zeros(len(ids), dtype=bool)
        new[first] = True
        new &= ~(self._old.has(ids) | self._young.has(ids))
        self._young = self._young.joined(ids[new], times[new])
        if len(self._young.ids) > _YOUNG:
            self._merge()
        return new

    def forget(self, before: float) -> None:
        """Forget ids of times before `before`, and the oldest of too many."""
        self._merge()
        self._old = self._old.since(before)
        self._bound()

    def _merge(self) -> None:
        self._old = self._old.joined(self._young.ids, self._young.times)
        self._young = _Sorted.empty()
        self._bound()

    def _bound(self) -> None:
        surplus = len(self._old.ids) - self._capacity
        if surplus > 0:
            oldest = np.argpartition(self._old.times, surplus - 1)[:surplus]
            self.forgotten_until = max(self.forgotten_until, float(self._old.times[oldest].max()))
            self._old = self._old.without(oldest)


class _Sorted:
    """Ids in order, with their times beside them."""

    __slots__ = ("ids", "times")

    def __init__(self, ids: _Ids, times: _Times) -> None:
        self.ids, self.times = ids, times

    @classmethod
    def empty(cls) -> "_Sorted":
        return cls(np.empty(0, np.int64), np.empty(0))

    def has(self, ids: _Ids) -> NDArray[np.bool_]:
        if not len(self.ids):
            return np.zeros(len(ids), dtype=bool)
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        return np.equal(self.ids[places], ids)

    def joined(self, ids: _Ids, times: _Times) -> "_Sorted":
        if not len(ids):
            return self
        all_ids = np.concatenate([self.ids, ids])
        order = np.argsort(all_ids, kind="stable")
        return _Sorted(all_ids[order], np.concatenate([self.times, times])[order])

    def without(self, places: NDArray[np.intp]) -> "_Sorted":
        return _Sorted(np.delete(self.ids, places), np.delete(self.times, places))

    def since(self, moment: float) -> "_Sorted":
        keep = self.times >= moment
        return self if keep.all() else _Sorted(self.ids[keep], self.times[keep])
