"""The monitor: one evaluation at a time, shared by who asks, with a status that tells how it goes."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from drift.current.prediction_event import SkipReason
from drift.errors import PredictionLogError, ShuttingDownError
from drift.evaluation import Outcome
from drift.monitor import Monitor, Status
from drift.rows import Reference, Rows
from drift.service.metrics import DriftMetrics

IrisRows = Callable[..., Rows]


class ScriptedSource:
    """A source that answers from a list; an error in it is raised. `gate` holds a read back while cleared."""

    def __init__(self, *answers: Rows | Exception | None) -> None:
        self.answers = list(answers)
        self.gate = threading.Event()
        self.gate.set()
        self.reads = 0

    def read(self, now: float) -> Rows | None:  # noqa: ARG002
        """Give the next answer."""
        self.reads += 1
        assert self.gate.wait(20)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take_skipped(self) -> Counter[SkipReason]:
        """Skip two lines, each time."""
        return Counter({SkipReason.SHADOW: 2})


Build = Callable[[ScriptedSource], Monitor]


@pytest.fixture
def metrics(reference: Reference) -> DriftMetrics:
    return DriftMetrics(len(reference.rows))


@pytest.fixture
def build(reference: Reference, metrics: DriftMetrics) -> Iterator[Build]:
    """A function that makes a monitor of a source; all of them are stopped in the end."""
    made: list[tuple[Monitor, ScriptedSource]] = []

    def make(source: ScriptedSource) -> Monitor:
        made.append((Monitor(reference, source, metrics, min_rows=50), source))
        return made[-1][0]

    yield make
    for monitor, source in made:
        source.gate.set()
        assert monitor.stop(20)


def exposition(metrics: DriftMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


def value(metrics: DriftMetrics, name: str) -> float | None:
    """Return the value of the sample `name` (with its labels), None when there is none."""
    found = [line for line in exposition(metrics).splitlines() if line.startswith(f"{name} ")]
    return float(found[0].split()[-1]) if found else None


def test_refreshes_join_the_evaluation_under_way(build: Build, iris_rows: IrisRows) -> None:
    """Who asks during an evaluation gets its result; who asks later gets a new one."""
    source = ScriptedSource(iris_rows(60, seed=1), None)
    monitor = build(source)
    source.gate.clear()
    first, second = monitor.refresh(), monitor.refresh()
    assert first is second
    assert monitor.health().evaluating
    source.gate.set()
    assert first.result(60).outcome is Outcome.OK
    assert source.reads == 1
    assert monitor.refresh().result(60).outcome is Outcome.INSUFFICIENT_DATA
    assert source.reads == 2


def test_without_a_verdict_there_are_no_samples_of_it(metrics: DriftMetrics) -> None:
    """Before the first verdict nothing reads as "no drift"; counts start at 0 for every known label."""
    assert value(metrics, "evidently_data_drift_status") is None
    assert value(metrics, 'drift_monitor_alarm{scope="any"}') is None
    assert value(metrics, "drift_monitor_last_run_timestamp") == 0
    assert value(metrics, 'drift_monitor_runs_total{outcome="error"}') == 0
    assert value(metrics, 'drift_monitor_skipped_lines_total{reason="not_json"}') == 0


def test_too_few_rows_keep_the_last_verdict(build: Build, metrics: DriftMetrics, iris_rows: IrisRows) -> None:
    """A quiet hour after an alarm leaves the alarm and its age in the metrics, and says that it waits."""
    monitor = build(ScriptedSource(iris_rows(100, seed=2, shift=1.0), iris_rows(49, seed=3)))
    assert monitor.refresh().result(60).alarm is not None
    timestamp = value(metrics, "drift_monitor_last_run_timestamp")
    assert monitor.health().status is Status.OK
    evaluation = monitor.refresh().result(60)
    assert evaluation.outcome is Outcome.INSUFFICIENT_DATA
    assert "49 rows and 50 are needed" in evaluation.reason
    assert monitor.health().status is Status.WAITING_FOR_DATA
    assert value(metrics, 'drift_monitor_alarm{scope="any"}') == 1
    assert value(metrics, "drift_monitor_last_run_timestamp") == timestamp
    assert value(metrics, "drift_monitor_current_row_count") == 49
    assert value(metrics, 'drift_monitor_skipped_lines_total{reason="shadow"}') == 4


def test_a_source_that_fails_and_recovers(build: Build, metrics: DriftMetrics, iris_rows: IrisRows) -> None:
    """The status says why and since when, keeps its start while it lasts, and ends with the next success."""
    broken = PredictionLogError("/logs/a.log", "permission denied")
    monitor = build(ScriptedSource(broken, broken, iris_rows(60, seed=1)))
    assert monitor.refresh().result(60).outcome is Outcome.ERROR
    health = monitor.health()
    assert health.status is Status.FAILING
    assert "permission denied" in health.reason
    time.sleep(0.01)
    monitor.refresh().result(60)
    assert monitor.health().since == health.since
    monitor.refresh().result(60)
    assert (monitor.health().status, monitor.health().reason) == (Status.OK, "")
    assert value(metrics, 'drift_monitor_runs_total{outcome="error"}') == 2
    assert value(metrics, 'drift_monitor_runs_total{outcome="ok"}') == 1


def test_a_defect_is_an_outcome_too(build: Build) -> None:
    """An exception that nobody foresaw ends an evaluation, not the service."""
    monitor = build(ScriptedSource(ZeroDivisionError("boom"), None))
    evaluation = monitor.refresh().result(60)
    assert evaluation.outcome is Outcome.ERROR
    assert "boom" in evaluation.reason
    assert monitor.refresh().result(60).outcome is Outcome.INSUFFICIENT_DATA


def test_stopping_does_not_wait_for_ever(build: Build) -> None:
    """An evaluation that does not end in time is reported, and no new one begins."""
    source = ScriptedSource(None)
    monitor = build(source)
    source.gate.clear()
    running = monitor.refresh()
    started = time.monotonic()
    assert not monitor.stop(0.2)
    assert time.monotonic() - started < 2
    with pytest.raises(ShuttingDownError):
        monitor.refresh()
    source.gate.set()
    assert running.result(20).outcome is Outcome.INSUFFICIENT_DATA


def test_a_column_without_data_has_no_samples(
    build: Build, metrics: DriftMetrics, iris_rows: IrisRows
) -> None:
    """A feature that nobody sends is absent from Evidently's metrics, and the alarm speaks for it."""
    rows = iris_rows(100, seed=4)
    rows.features[:, 2] = float("nan")
    monitor = build(ScriptedSource(rows))
    monitor.refresh().result(60)
    assert value(metrics, 'evidently_feature_drift_status{feature="feature_1"}') == 0
    assert value(metrics, 'evidently_feature_drift_status{feature="feature_2"}') is None
    assert value(metrics, 'drift_monitor_alarm{scope="features"}') == 1
