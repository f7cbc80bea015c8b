"""The monitor: runs evaluations one at a time in a thread of its own, and remembers how they went."""

import enum
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from drift.current.source import CurrentSource
from drift.errors import DriftError, ShuttingDownError
from drift.evaluation import Evaluation, Outcome, evaluate, failed
from drift.report.evidently_report import load_evidently
from drift.rows import Reference
from drift.service.metrics import DriftMetrics

__all__ = ["Health", "Monitor", "State", "Status"]

log = structlog.stdlib.get_logger("drift")


class Status(enum.StrEnum):
    """How the service does."""

    OK = "ok"
    WAITING_FOR_DATA = "waiting_for_data"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class State:
    """What the evaluations so far left behind; replaced as a whole, so that readers need no lock.

    `verdict` and `report_html` are of the last evaluation that reached a verdict. `since` is when the status
    began (ISO 8601, UTC), `reason` why it is what it is, empty when it is ok.
    """

    status: Status
    reason: str
    since: str
    last: Evaluation | None = None
    verdict: Evaluation | None = None
    report_html: bytes | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What `GET /healthz` answers. `last_run` is when the last verdict was reached, None before the first."""

    status: Status
    reason: str
    since: str
    last_run: str | None
    last_outcome: Outcome | None
    evaluating: bool
    current_rows: int | None
    reference_rows: int


class Monitor:
    """Evaluates a source against a reference, when asked."""

    def __init__(
        self, reference: Reference, source: CurrentSource, metrics: DriftMetrics, *, min_rows: int
    ) -> None:
        self._reference, self._source, self._metrics, self._min_rows = reference, source, metrics, min_rows
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evaluation")
        self._lock = threading.Lock()
        self._running: Future[Evaluation] | None = None
        self._warming: Future[None] | None = None
        self._stopping = False
        self._state = State(Status.WAITING_FOR_DATA, "the first evaluation has not finished", _now())

    @property
    def state(self) -> State:
        """What the evaluations so far left behind."""
        return self._state

    def warm_up(self) -> None:
        """Begin to import Evidently in the background; evaluations wait for it."""
        self._warming = self._worker.submit(_import_evidently)

    def refresh(self) -> Future[Evaluation]:
        """Begin an evaluation, or join the one that is under way; return its future result.

        The future gives an `Evaluation` whatever goes wrong in it. Raises `ShuttingDownError`.
        """
        with self._lock:
            if self._stopping:
                raise ShuttingDownError
            if self._running is None or self._running.done():
                self._running = self._worker.submit(self._run)
            return self._running

    def health(self) -> Health:
        """Return how the service does now."""
        state, running = self._state, self._running
        return Health(
            status=state.status,
            reason=state.reason,
            since=state.since,
            last_run=state.verdict.evaluated_at if state.verdict else None,
            last_outcome=state.last.outcome if state.last else None,
            evaluating=running is not None and not running.done(),
            current_rows=state.last.rows if state.last else None,
            reference_rows=len(self._reference.rows),
        )

    def stop(self, timeout_seconds: float) -> bool:
        """Take no more work, wait for what is under way; return whether it ended in time."""
        with self._lock:
            self._stopping = True
            self._worker.shutdown(wait=False, cancel_futures=True)
            # What was cancelled before it began is over, which `wait` would not see.
            pending: list[Future[Any]] = [
                future
                for future in (self._warming, self._running)
                if future is not None and not future.cancelled()
            ]
        return not wait(pending, timeout_seconds).not_done

    def _run(self) -> Evaluation:
        started, html = time.monotonic(), None
        try:
            rows = self._source.read(time.time())
            evaluation, html = evaluate(self._reference, rows, min_rows=self._min_rows)
        except DriftError as error:
            log.error("drift evaluation failed", reason=str(error))  # the sentence says it all: no traceback
            evaluation = failed(self._reference, str(error), started)
        except Exception as error:
            # The edge of the process: a defect must not end the service.
            log.exception("drift evaluation failed", reason=repr(error))
            evaluation = failed(self._reference, f"a defect, see the log: {error!r}", started)
        evaluation = replace(evaluation, duration_seconds=round(time.monotonic() - started, 3))
        self._metrics.record(evaluation, self._source.take_skipped())
        self._state = _next_state(self._state, evaluation, html)
        _log_result(evaluation)
        return evaluation


def _next_state(state: State, evaluation: Evaluation, html: bytes | None) -> State:
    status = {
        Outcome.OK: Status.OK,
        Outcome.INSUFFICIENT_DATA: Status.WAITING_FOR_DATA,
        Outcome.ERROR: Status.FAILING,
    }[evaluation.outcome]
    verdict = evaluation.outcome is Outcome.OK
    return State(
        status=status,
        reason=evaluation.reason,
        since=state.since if state.status is status else _now(),
        last=evaluation,
        verdict=evaluation if verdict else state.verdict,
        report_html=html if verdict else state.report_html,
    )


def _log_result(evaluation: Evaluation) -> None:
    if evaluation.outcome is Outcome.INSUFFICIENT_DATA:
        log.info("Not enough current data to evaluate drift", reason=evaluation.reason, rows=evaluation.rows)
    if evaluation.alarm is None:
        return
    fields = {
        "rows": evaluation.rows,
        "p_values": dict(evaluation.alarm.p_values),
        "drift_share": evaluation.drift_share,
        "duration_seconds": evaluation.duration_seconds,
    }
    if evaluation.alarm.any:
        log.warning(
            "drift alarm",
            features=evaluation.alarm.features,
            prediction=evaluation.alarm.prediction,
            feature_p_values=dict(evaluation.alarm.feature_p_values),
            **fields,
        )
    else:
        log.info("drift evaluated, no alarm", **fields)


def _import_evidently() -> None:
    started = time.monotonic()
    try:
        load_evidently()
    except DriftError as error:
        log.error("Evidently cannot be used", reason=str(error))
    else:
        log.info("Evidently imported", duration_seconds=round(time.monotonic() - started, 3))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
