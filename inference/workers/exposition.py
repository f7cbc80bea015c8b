"""What all processes counted, as one exposition.

Counters, histograms and the requests in flight are sums over the supervisor and the workers. Other gauges are the
supervisor's own, since all workers serve what it serves. What a worker's process uses is shown worker by worker.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.workers.sums import PROCESS, Ledgers, Snapshot

__all__ = ["FleetCollector", "WorkerCounts"]

_WORKER = ("worker",)


class WorkerCounts(NamedTuple):
    """What is counted of one worker, whichever processes it was."""

    serves: bool
    restarts: int
    cut_lines: int


class FleetCollector(Collector):
    """Gives the families of `own` with those of the workers added, and families about the workers.

    `refresh` asks the workers for new snapshots within a bounded time: one that does not answer costs its newest
    figures, never the scrape.
    """

    def __init__(
        self,
        own: CollectorRegistry,
        ledgers: Ledgers,
        refresh: Callable[[], None],
        counts: Callable[[], list[WorkerCounts]],
    ) -> None:
        self._own = own
        self._ledgers = ledgers
        self._refresh = refresh
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Give every family."""
        self._refresh()
        sums, latest = self._ledgers.add_up()
        yield from sums.with_own(self._own.collect())
        yield from _fleet_families(self._counts())
        yield from _process_families(latest)


def _fleet_families(counts: list[WorkerCounts]) -> Iterator[Metric]:
    alive = GaugeMetricFamily("ml_worker_up", "Whether the worker process serves.", labels=_WORKER)
    restarts = CounterMetricFamily(
        "ml_worker_restarts", "Worker processes that were lost and replaced.", labels=_WORKER
    )
    cut = CounterMetricFamily(
        "ml_worker_lines_cut", "Half lines that killed workers left, which were dropped.", labels=_WORKER
    )
    for worker, (serves, restarted, cut_lines) in enumerate(counts):
        label = [str(worker)]
        alive.add_metric(label, float(serves))
        restarts.add_metric(label, restarted)
        cut.add_metric(label, cut_lines)
    yield from (alive, restarts, cut)


def _process_families(latest: list[Snapshot]) -> Iterator[Metric]:
    # Not counters that outlive a restart: like those of any process they begin anew with the process.
    cpu = CounterMetricFamily("ml_worker_cpu_seconds", "CPU time of the worker process.", labels=_WORKER)
    memory = GaugeMetricFamily(
        "ml_worker_resident_memory_bytes", "Resident memory of the worker process.", labels=_WORKER
    )
    for worker, snapshot in enumerate(latest):
        used = {
            name: value
            for family, _, _, samples in snapshot
            if family.startswith(PROCESS)
            for name, _, value, _ in samples
        }
        if used:
            cpu.add_metric([str(worker)], used["process_cpu_seconds_total"])
            memory.add_metric([str(worker)], used["process_resident_memory_bytes"])
    yield from (cpu, memory)
