"""The monitor: one evaluation at a time, shared by who asks, with a status that tells how it goes."""

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from drift import monitor as monitor_module
from drift.baseline import Baseline, make_baseline
from drift.current.event_filter import SkipReason
from drift.errors import DriftError, PredictionLogError, ShuttingDownError
from drift.evaluation import Evaluation, Outcome
from drift.inputs import Current
from drift.monitor import Evidence, Monitor, Status
from drift.rows import Reference, Rows
from drift.service.metrics import DriftMetrics
from drift.statistics.choice import Methods

IrisRows = Callable[..., Rows]


class ScriptedInputs:
    """Inputs that answer from a list; an error in it is raised. `gate` holds a read back while cleared."""

    def __init__(self, *answers: Rows | Exception | None) -> None:
        self.answers = list(answers)
        self.base: Baseline | DriftError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.reads = 0

    def baseline(self) -> tuple[Baseline, tuple[str, ...]]:
        """Give the baseline, with a note."""
        if isinstance(self.base, DriftError):
            raise self.base
        assert self.base is not None
        return self.base, ("a note",)

    def current(self, baseline: Baseline, now: float) -> Current:  # noqa: ARG002
        """Give the next answer."""
        self.reads += 1
        assert self.gate.wait(20)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Current(answer, 3)

    def take_skipped(self) -> Counter[SkipReason]:
        """Skip two lines, each time."""
        return Counter({SkipReason.SHADOW: 2})


Build = Callable[[ScriptedInputs], Monitor]


@pytest.fixture
def metrics() -> DriftMetrics:
    return DriftMetrics()


@pytest.fixture(scope="module")
def baseline(reference: Reference) -> Baseline:
    return make_baseline(reference, Methods())


@pytest.fixture
def build(baseline: Baseline, metrics: DriftMetrics) -> Iterator[Build]:
    """A function that makes a monitor of inputs; all of them are stopped in the end."""
    made: list[tuple[Monitor, ScriptedInputs]] = []

    def make(inputs: ScriptedInputs) -> Monitor:
        def take(evaluation: Evaluation, _evidence: Evidence | None) -> None:
            metrics.record(evaluation)

        inputs.base = inputs.base or baseline
        monitor = Monitor(inputs, min_rows=50, alarm_runs=2, listener=take)  # type: ignore[arg-type]
        made.append((monitor, inputs))
        return monitor

    yield make
    for monitor, inputs in made:
        inputs.gate.set()
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
    inputs = ScriptedInputs(iris_rows(60, seed=1), None)
    monitor = build(inputs)
    inputs.gate.clear()
    first, second = monitor.refresh(), monitor.refresh()
    assert first is second
    assert monitor.health().evaluating
    inputs.gate.set()
    assert first.result(60).outcome is Outcome.OK
    assert inputs.reads == 1
    assert monitor.refresh().result(60).outcome is Outcome.INSUFFICIENT_DATA
    assert inputs.reads == 2


def test_without_a_verdict_there_are_no_samples_of_it(metrics: DriftMetrics) -> None:
    """Before the first verdict nothing reads as "no drift"; counts start at 0 for every known label."""
    assert value(metrics, "evidently_data_drift_status") is None
    assert value(metrics, 'drift_monitor_alarm{scope="any"}') is None
    assert value(metrics, "drift_monitor_last_run_timestamp") == 0
    assert value(metrics, 'drift_monitor_runs_total{outcome="error"}') == 0
    assert value(metrics, 'drift_monitor_skipped_lines_total{reason="not_json"}') == 0


def test_too_few_rows_keep_the_last_verdict(build: Build, metrics: DriftMetrics, iris_rows: IrisRows) -> None:
    """A quiet hour after an alarm leaves the alarm and its age in the metrics, and says that it waits."""
    shifted = [iris_rows(100, seed=seed, shift=1.0) for seed in (2, 3)]
    monitor = build(ScriptedInputs(*shifted, iris_rows(49, seed=3)))
    monitor.refresh().result(60)
    assert monitor.refresh().result(60).alarm is not None
    timestamp = value(metrics, "drift_monitor_last_run_timestamp")
    assert monitor.health().status is Status.OK
    evaluation = monitor.refresh().result(60)
    assert evaluation.outcome is Outcome.INSUFFICIENT_DATA
    assert "49 rows and 50 are needed" in evaluation.reason
    assert evaluation.reason.endswith("lines skipped since the start: shadow 6")
    assert monitor.health().status is Status.WAITING_FOR_DATA
    assert value(metrics, 'drift_monitor_alarm{scope="any"}') == 1
    assert value(metrics, "drift_monitor_last_run_timestamp") == timestamp
    assert value(metrics, "drift_monitor_current_row_count") == 49
    assert value(metrics, 'drift_monitor_skipped_lines_total{reason="shadow"}') == 6


def test_a_source_that_fails_and_recovers(build: Build, metrics: DriftMetrics, iris_rows: IrisRows) -> None:
    """The status says why and since when, keeps its start while it lasts, and ends with the next success."""
    broken = PredictionLogError("/logs/a.log", "permission denied")
    monitor = build(ScriptedInputs(broken, broken, iris_rows(60, seed=1)))
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
    monitor = build(ScriptedInputs(ZeroDivisionError("boom"), None))
    evaluation = monitor.refresh().result(60)
    assert evaluation.outcome is Outcome.ERROR
    assert "boom" in evaluation.reason
    assert monitor.refresh().result(60).outcome is Outcome.INSUFFICIENT_DATA


def test_stopping_does_not_wait_for_ever(build: Build) -> None:
    """An evaluation that does not end in time is reported, and no new one begins."""
    inputs = ScriptedInputs(None)
    monitor = build(inputs)
    inputs.gate.clear()
    running = monitor.refresh()
    started = time.monotonic()
    assert not monitor.stop(0.2)
    assert time.monotonic() - started < 2
    with pytest.raises(ShuttingDownError):
        monitor.refresh()
    inputs.gate.set()
    assert running.result(20).outcome is Outcome.INSUFFICIENT_DATA


def test_a_column_without_data_has_no_samples(
    build: Build, metrics: DriftMetrics, iris_rows: IrisRows
) -> None:
    """A feature that nobody sends is absent from Evidently's metrics, and the alarm speaks for it."""
    windows = [iris_rows(100, seed=seed) for seed in (4, 5)]
    for rows in windows:
        rows.features[:, 2] = float("nan")
    monitor = build(ScriptedInputs(*windows))
    monitor.refresh().result(60)
    monitor.refresh().result(60)
    assert value(metrics, 'evidently_feature_drift_status{feature="feature_1"}') == 0
    assert value(metrics, 'evidently_feature_drift_status{feature="feature_2"}') is None
    assert value(metrics, 'drift_monitor_alarm{scope="features"}') == 1


def test_an_alarm_takes_new_rows_and_another_reference_begins_anew(
    build: Build, baseline: Baseline, metrics: DriftMetrics, reference: Reference, iris_rows: IrisRows
) -> None:
    """The same rows are one finding however often they are judged; against another reference findings count from 0."""
    first, second, third = (iris_rows(100, seed=seed, shift=1.0) for seed in (2, 3, 4))
    inputs = ScriptedInputs(first, first, second, third)
    monitor = build(inputs)

    def judge() -> tuple[bool, int]:
        alarm = monitor.refresh().result(60).alarm
        assert alarm is not None
        return alarm.any, alarm.runs["features"]

    assert [judge(), judge()] == [(False, 1), (False, 1)]
    assert value(metrics, 'drift_monitor_alarm{scope="features"}') == 0
    assert (value(metrics, 'drift_monitor_alarm_p_value{scope="features"}') or 0) < 0.01
    assert judge() == (True, 2)
    inputs.base = make_baseline(reference, Methods())
    inputs.base = dataclasses.replace(inputs.base, digest="another")
    assert judge() == (False, 1)


def test_a_restart_keeps_the_alarm(baseline: Baseline, iris_rows: IrisRows, tmp_path: Path) -> None:
    """Also when it sees the same rows again; another reference, or a damaged file, begins anew."""
    rows = [iris_rows(100, seed=seed, shift=1.0) for seed in (2, 3)]

    def judge(*windows: Rows, base: Baseline = baseline) -> list[bool]:
        inputs = ScriptedInputs(*windows)
        inputs.base = base
        monitor = Monitor(
            inputs,  # type: ignore[arg-type]
            min_rows=50,
            alarm_runs=2,
            listener=lambda _evaluation, _evidence: None,
            directory=tmp_path,
        )
        alarms = [monitor.refresh().result(60).alarm for _ in windows]
        assert monitor.stop(20)
        return [alarm.any for alarm in alarms if alarm]

    assert judge(*rows) == [False, True]
    assert judge(rows[1]) == [True]
    assert judge(rows[1], base=dataclasses.replace(baseline, digest="another")) == [False]
    (tmp_path / "alarm.json").write_text('{"reference": 1, "scopes": [')
    assert judge(rows[1]) == [False]


def test_a_listener_that_fails_takes_nobody_the_result(baseline: Baseline, iris_rows: IrisRows) -> None:
    """The evaluation is there, the defect is in the log, and the next one is made."""

    def fail(_evaluation: Evaluation, _evidence: Evidence | None) -> None:
        raise RuntimeError("boom")

    inputs = ScriptedInputs(iris_rows(60, seed=1), iris_rows(60, seed=2))
    inputs.base = baseline
    monitor = Monitor(inputs, min_rows=50, alarm_runs=2, listener=fail)  # type: ignore[arg-type]
    assert [monitor.refresh().result(60).outcome for _ in range(2)] == [Outcome.OK, Outcome.OK]
    assert monitor.stop(20)


def test_an_evaluation_that_hangs_is_noticed(
    build: Build, iris_rows: IrisRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status says so while it lasts, and is as before when it ended."""
    monkeypatch.setattr(monitor_module, "STUCK_SECONDS", 0.0)
    inputs = ScriptedInputs(iris_rows(60, seed=1))
    monitor = build(inputs)
    inputs.gate.clear()
    running = monitor.refresh()
    time.sleep(0.01)  # longer than no time
    health = monitor.health()
    assert (health.status, health.evaluating) == (Status.FAILING, True)
    assert "has not ended for" in health.reason
    inputs.gate.set()
    running.result(60)
    assert monitor.health().status is Status.OK


def test_a_reference_that_is_missing_is_a_failure_that_can_end(
    build: Build, baseline: Baseline, iris_rows: IrisRows
) -> None:
    """The service stays up, says so, and goes on when the reference comes; notes and missing rows are passed on."""
    inputs = ScriptedInputs(iris_rows(60, seed=1))
    inputs.base = DriftError("Reference dataset is empty: r.csv; give a file with rows")
    monitor = build(inputs)
    evaluation = monitor.refresh().result(60)
    assert (evaluation.outcome, evaluation.reference_rows) == (Outcome.ERROR, 0)
    assert monitor.health().reason.startswith("Reference dataset is empty")
    inputs.base = baseline
    evaluation = monitor.refresh().result(60)
    assert (evaluation.outcome, evaluation.notes, evaluation.rows_missing) == (Outcome.OK, ("a note",), 3)
    assert monitor.health().notes == ("a note",)
