"""Counts of several processes added up, without one that ever goes back.

A worker sends its families as a snapshot, which JSON can say. Of a worker that is gone the last snapshot stays in
the sum.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

__all__ = ["PROCESS", "Ledgers", "Snapshot", "Sums", "snapshot_of"]

#: Families as JSON: `[name, documentation, type, [[sample name, labels, value, exemplar or None], …]]` each.
Snapshot = list[Any]

#: Families of the process itself begin so; they describe one process and are not added.
PROCESS: Final = "process_"
#: Gauges whose sum over processes means something, as long as the processes live.
_ADDED_GAUGES: Final = frozenset({"ml_requests_in_flight"})
_LASTING_TYPES: Final = frozenset({"counter", "histogram", "summary"})

_Key = tuple[str, tuple[tuple[str, str], ...]]


def snapshot_of(registry: CollectorRegistry) -> Snapshot:
    """Take what is added, and what describes the process."""
    return [
        [family.name, family.documentation, family.type, [_to_json(sample) for sample in family.samples]]
        for family in registry.collect()
        if _is_added(family.name, family.type) or family.name.startswith(PROCESS)
    ]


class Sums:
    """Values of families by sample name and labels."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[_Key, float]] = {}
        self._exemplars: dict[_Key, Exemplar] = {}

    def add(self, snapshot: Snapshot, *, lasting: bool = False) -> None:
        """Add what a process counted; of one that is gone only what is `lasting`."""
        for family, documentation, kind, samples in snapshot:
            if not _is_added(family, kind) or (lasting and kind not in _LASTING_TYPES):
                continue
            self._kinds[family] = documentation, kind
            self._take(family, (_from_json(sample) for sample in samples))

    def merge(self, other: "Sums") -> None:
        """Add other sums."""
        self._kinds.update(other._kinds)
        self._exemplars.update(other._exemplars)
        for family, values in other._values.items():
            mine = self._values.setdefault(family, {})
            for key, value in values.items():
                mine[key] = mine.get(key, 0.0) + value

    def with_own(self, own: Iterable[Metric]) -> Iterator[Metric]:
        """Add the families of this process, and give them all; those that are not added stay as they are."""
        known = []
        for family in own:
            known.append(family.name)
            if _is_added(family.name, family.type):
                self._take(family.name, family.samples)
                family.samples = self._samples(family.name)
            yield family
        for name in self._kinds.keys() - known:
            documentation, kind = self._kinds[name]
            family = Metric(name, documentation, kind)
            family.samples = self._samples(name)
            yield family

    def _take(self, family: str, samples: Iterable[Sample]) -> None:
        values = self._values.setdefault(family, {})
        for sample in samples:
            key = (sample.name, tuple(sample.labels.items()))
            values[key] = values.get(key, 0.0) + sample.value
            if sample.exemplar is not None:
                self._exemplars[key] = sample.exemplar

    def _samples(self, family: str) -> list[Sample]:
        values = self._values[family].items()
        return [
            Sample(name, dict(labels), value, None, self._exemplars.get((name, labels)))
            for (name, labels), value in values
        ]


class Ledgers:
    """The latest snapshot of each worker, and the sums of those that are gone."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._latest: list[Snapshot] = [[] for _ in range(count)]
        self._gone = Sums()

    def update(self, worker: int, snapshot: Snapshot) -> None:
        """Take the newest snapshot of a worker."""
        with self._lock:
            self._latest[worker] = snapshot

    def fold(self, worker: int) -> None:
        """Keep what a worker counted that is gone; another one begins at 0 in its place."""
        with self._lock:
            self._gone.add(self._latest[worker], lasting=True)
            self._latest[worker] = []

    def add_up(self) -> tuple[Sums, list[Snapshot]]:
        """Return the sums over all workers, and what the latest snapshots were."""
        with self._lock:
            sums = Sums()
            sums.merge(self._gone)
            for snapshot in self._latest:
                sums.add(snapshot)
            return sums, list(self._latest)


def _is_added(family: str, kind: str) -> bool:
    if family.startswith(PROCESS):
        return False
    return kind in _LASTING_TYPES or family in _ADDED_GAUGES


def _to_json(sample: Sample) -> list[Any]:
    exemplar = sample.exemplar
    shown = [exemplar.labels, exemplar.value, exemplar.timestamp] if exemplar is not None else None
    return [sample.name, sample.labels, sample.value, shown]


def _from_json(content: list[Any]) -> Sample:
    name, labels, value, exemplar = content
    return Sample(name, labels, value, None, Exemplar(*exemplar) if exemplar is not None else None)
