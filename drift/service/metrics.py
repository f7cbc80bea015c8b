"""What Prometheus scrapes: the last verdict as one consistent set, and counts.

Before the first verdict its metrics have no samples, since 0 would read as "no drift". A later evaluation
without a verdict leaves them as they were; `drift_monitor_last_run_timestamp` tells their age.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from drift.alarm.verdict import SCOPES
from drift.current.event_filter import SkipReason
from drift.evaluation import Evaluation, Outcome
from drift.statistics.column import ColumnDrift
from drift.statistics.method import METHODS

__all__ = ["DriftMetrics"]


class DriftMetrics(Collector):
    """Collects the metrics of one monitor; register it with a `CollectorRegistry`."""

    def __init__(self, actions: Callable[[], Mapping[str, int]] = dict) -> None:
        """`actions` tells how often an action on an alarm had which outcome."""
        self._actions = actions
        self._lock = threading.Lock()
        self._reference_rows = 0
        self._current_rows = 0
        self._rows_missing: int | None = None
        self._verdict: Evaluation | None = None
        self._cross_check: float | None = None
        self._runs = Counter(dict.fromkeys(Outcome, 0))
        self._skipped: Counter[str] = Counter(dict.fromkeys(SkipReason, 0))

    def record(self, evaluation: Evaluation) -> None:
        """Take in the result of an evaluation."""
        with self._lock:
            self._runs[evaluation.outcome] += 1
            self._skipped.update(evaluation.skipped)
            self._reference_rows = evaluation.reference_rows or self._reference_rows
            if evaluation.rows is not None:
                self._current_rows, self._rows_missing = evaluation.rows, evaluation.rows_missing
            if evaluation.outcome is Outcome.OK:
                self._verdict = evaluation

    def record_cross_check(self, difference: float) -> None:
        """Take in by how much our statistics differ from Evidently's on one sample, relative to the larger."""
        with self._lock:
            self._cross_check = difference

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, those without samples too."""
        with self._lock:
            verdict, current_rows = self._verdict, self._current_rows
            reference_rows, missing = self._reference_rows, self._rows_missing
            cross_check = self._cross_check
            runs, skipped = dict(self._runs), dict(self._skipped)
        yield from _dataset(verdict)
        yield from _prediction(verdict)
        yield from _features(verdict.features if verdict else ())
        yield from _target(verdict.target if verdict else None)
        yield from _alarm(verdict)
        yield from _accuracy(verdict)
        yield from _service(verdict, current_rows, reference_rows)
        yield _gauge(
            "drift_monitor_rows_missing",
            "Lines of the window (events, or parts of them) that Loki counts and did not give.",
            missing,
        )
        yield _gauge(
            "drift_monitor_cross_check_difference",
            "Largest relative difference between our statistics and Evidently's on the last report's sample.",
            cross_check,
        )
        counts = CounterMetricFamily("drift_monitor_runs", "Evaluations, by outcome.", labels=["outcome"])
        for outcome, count in runs.items():
            counts.add_metric([outcome], count)
        yield counts
        lines = CounterMetricFamily(
            "drift_monitor_skipped_lines", "Lines of the prediction log that do not count.", labels=["reason"]
        )
        for reason, count in skipped.items():
            lines.add_metric([reason], count)
        yield lines
        done = CounterMetricFamily(
            "drift_monitor_actions", "Actions on a lasting alarm, by outcome.", labels=["outcome"]
        )
        for name, count in self._actions().items():
            done.add_metric([name], count)
        yield done


def _gauge(name: str, documentation: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation)
    if value is not None:
        family.add_metric([], value)
    return family


def _dataset(verdict: Evaluation | None) -> Iterator[Metric]:
    yield _gauge(
        "evidently_data_drift_status",
        "1 when Evidently calls the dataset drifted. Noisy below 500 rows: alert on drift_monitor_alarm.",
        verdict.dataset_drift if verdict else None,
    )
    yield _gauge(
        "evidently_data_drift_share",
        "Share of features that drifted, 0 to 1.",
        verdict.drift_share if verdict else None,
    )


def _prediction(verdict: Evaluation | None) -> Iterator[Metric]:
    prediction = verdict.prediction if verdict else None
    yield _gauge(
        "evidently_prediction_drift_status",
        "1 when Evidently calls the predictions drifted.",
        prediction.drifted if prediction else None,
    )
    yield _gauge(
        "evidently_prediction_drift_score",
        "Evidently's statistic of the predictions: p-value up to 1000 reference rows, distance above.",
        prediction.statistic if prediction else None,
    )
    yield _gauge(
        "evidently_prediction_psi_score",
        f"Population stability index of the predictions; drift from {METHODS['psi'].threshold:g}.",
        prediction.psi if prediction else None,
    )


def _features(features: tuple[ColumnDrift, ...]) -> Iterator[Metric]:
    status = GaugeMetricFamily(
        "evidently_feature_drift_status", "1 when Evidently calls the feature drifted.", labels=["feature"]
    )
    score = GaugeMetricFamily(
        "evidently_feature_drift_score",
        "Evidently's statistic; its direction depends on the method (drift_monitor_feature_info).",
        labels=["feature"],
    )
    severity = GaugeMetricFamily(
        "drift_monitor_feature_severity",
        "Above 1 means drift whatever the method: distance / threshold, or threshold / p-value.",
        labels=["feature"],
    )
    info = GaugeMetricFamily(
        "drift_monitor_feature_info",
        "Always 1; method and threshold of the feature's statistic.",
        labels=["feature", "method", "threshold"],
    )
    for feature in features:
        if feature.statistic is None or feature.severity is None:
            continue
        status.add_metric([feature.name], feature.drifted)
        score.add_metric([feature.name], feature.statistic)
        severity.add_metric([feature.name], feature.severity)
        info.add_metric([feature.name, feature.method, f"{feature.threshold:g}"], 1)
    yield from (status, score, severity, info)


def _target(target: ColumnDrift | None) -> Iterator[Metric]:
    yield _gauge(
        "evidently_target_drift_status",
        "1 when Evidently calls the targets drifted; only where labels of current rows have come.",
        target.drifted if target else None,
    )
    yield _gauge(
        "evidently_target_drift_score",
        "Evidently's statistic of the targets: p-value up to 1000 reference rows, distance above.",
        target.statistic if target else None,
    )


def _alarm(verdict: Evaluation | None) -> Iterator[Metric]:
    raised = GaugeMetricFamily(
        "drift_monitor_alarm",
        "1 when the calibrated test has said in enough evaluations in a row that the data changed.",
        labels=["scope"],
    )
    p_values = GaugeMetricFamily(
        "drift_monitor_alarm_p_value",
        "How likely so large a difference is when nothing changed, in the last evaluation.",
        labels=["scope"],
    )
    if verdict is not None and verdict.alarm is not None:
        for scope in (*SCOPES, "any"):
            raised.add_metric([scope], getattr(verdict.alarm, scope))
        for scope, p_value in verdict.alarm.p_values.items():
            p_values.add_metric([scope], p_value)
    yield from (raised, p_values)


def _accuracy(verdict: Evaluation | None) -> Iterator[Metric]:
    estimated = "Accuracy of the window by the model's own probabilities, calibrated on the reference"
    realised = "Accuracy of the rows of the window whose labels have come"
    for name, what, accuracy in (
        ("estimated", estimated, verdict.estimated_accuracy if verdict else None),
        ("realised", realised, verdict.realised_accuracy if verdict else None),
    ):
        for suffix, bound, part in (
            ("", "", "value"),
            ("_low", ", lower end of its 95 % interval", "low"),
            ("_high", ", upper end of its 95 % interval", "high"),
        ):
            value = None if accuracy is None else getattr(accuracy, part)
            yield _gauge(f"drift_monitor_{name}_accuracy{suffix}", f"{what}{bound}.", value)


def _service(verdict: Evaluation | None, current_rows: int, reference_rows: int) -> Iterator[Metric]:
    yield _gauge(
        "drift_monitor_current_row_count",
        "Current rows when they were last read, after sampling.",
        current_rows,
    )
    yield _gauge("drift_monitor_reference_row_count", "Reference rows, after sampling.", reference_rows)
    yield _gauge(
        "drift_monitor_last_run_timestamp",
        "When the last verdict was reached, in seconds since 1970; 0 before the first.",
        datetime.fromisoformat(verdict.evaluated_at).timestamp() if verdict else 0,
    )
