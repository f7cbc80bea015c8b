"""The service: its parts, put together by the settings."""

import time

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from drift.evaluation import Evaluation
from drift.inputs import Inputs
from drift.memory import give_back
from drift.monitor import Evidence, Monitor
from drift.report.desk import ReportDesk, Subject
from drift.report.reporter import Reporter
from drift.service.actions import open_action
from drift.service.history import History
from drift.service.metrics import DriftMetrics
from drift.service.web import create_app
from drift.settings import Settings
from drift.statistics.choice import Methods

__all__ = ["Service"]

_HISTORY = "history.sqlite"


class Service:
    """What runs behind the port. Nothing is read or begun until the monitor is asked to evaluate."""

    def __init__(self, settings: Settings) -> None:
        self._inputs = Inputs(settings)
        self._action = open_action(settings)
        self._metrics = DriftMetrics(lambda: self._action.counts if self._action else {})
        directory = settings.drift_state_dir
        self._history = History(
            directory / _HISTORY if directory else None,
            max_runs=settings.drift_history_max_runs,
            max_age_days=settings.drift_history_max_days,
        )
        self._desk = ReportDesk(
            Reporter(),
            Methods.parse(settings.drift_methods),
            lambda result: self._metrics.record_cross_check(result.cross_check.largest_difference),
        )
        self.monitor = Monitor(
            self._inputs,
            min_rows=settings.drift_min_rows,
            alarm_runs=settings.drift_alarm_runs,
            listener=self._take,
            directory=directory,
        )
        registry = CollectorRegistry()
        registry.register(self._metrics)
        self.app: Starlette = create_app(self.monitor, self._desk, registry, self._history)

    def stop(self, grace_seconds: float) -> bool:
        """Begin nothing more, give what is under way so long; return whether all of it ended."""
        deadline = time.monotonic() + grace_seconds

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        ended = [self.monitor.stop(left()), self._desk.stop(left())]
        if self._action is not None:
            ended.append(self._action.stop(left()))
        self._history.close()
        if ended[0]:
            self._inputs.close()
        return all(ended)

    def _take(self, evaluation: Evaluation, evidence: Evidence | None) -> None:
        """Pass an evaluation on, in the thread that made it."""
        self._metrics.record(evaluation)
        self._history.add(evaluation)
        if evidence is None or evaluation.alarm is None:
            return
        self._desk.take(Subject(evidence.baseline.reference, evidence.current), alarm=evaluation.alarm.any)
        if self._action is not None:
            self._action.notify(evaluation, evaluation.alarm)
        give_back()
