"""What Prometheus scrapes: the last verdict as one consistent set, and counts.

Before the first verdict its metrics have no samples, since 0 would read as "no drift". A later evaluation
without a verdict leaves them as they were; `drift_monitor_last_run_timestamp` tells their age.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from drift.current.prediction_event import SkipReason
from drift.evaluation import Evaluation, Outcome
from drift.statistics.column import ColumnDrift

__all__ = ["DriftMetrics"]


class DriftMetrics(Collector):
    """Collects the metrics of one monitor; register it with a `CollectorRegistry`."""

    def __init__(self, reference_rows: int) -> None:
        self._lock = threading.Lock()
        self._reference_rows = reference_rows
        self._current_rows = 0
        self._verdict: Evaluation | None = None
        self._runs = Counter(dict.fromkeys(Outcome, 0))
        self._skipped = Counter(dict.fromkeys(SkipReason, 0))

    def record(self, evaluation: Evaluation, skipped: Mapping[SkipReason, int]) -> None:
        """Take in the result of an evaluation, and the lines that it skipped."""
        with self._lock:
            self._runs[evaluation.outcome] += 1
            self._skipped.update(skipped)
            if evaluation.rows is not None:
                self._current_rows = evaluation.rows
            if evaluation.outcome is Outcome.OK:
                self._verdict = evaluation

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, those without samples too."""
        with self._lock:
            verdict, current_rows = self._verdict, self._current_rows
            runs, skipped = dict(self._runs), dict(self._skipped)
        yield from _dataset(verdict)
        yield from _prediction(verdict)
        yield from _features(verdict.features if verdict else ())
        yield _alarm(verdict)
        yield from _service(verdict, current_rows, self._reference_rows)
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
        "Population stability index of the predictions; drift from 0.1.",
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


def _alarm(verdict: Evaluation | None) -> Metric:
    family = GaugeMetricFamily(
        "drift_monitor_alarm",
        "1 when the calibrated test says that the data changed (1 % false alarms a window).",
        labels=["scope"],
    )
    if verdict is not None and verdict.alarm is not None:
        family.add_metric(["features"], verdict.alarm.features)
        family.add_metric(["prediction"], verdict.alarm.prediction)
        family.add_metric(["any"], verdict.alarm.any)
    return family


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
