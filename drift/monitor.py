"""The monitor: runs evaluations one at a time in a thread of its own, and remembers how they went."""

import enum
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from drift.alarm.persistence import Persistence
from drift.baseline import Baseline
from drift.errors import DriftError, ShuttingDownError
from drift.evaluation import Evaluation, Outcome, evaluate, without_verdict
from drift.inputs import Inputs
from drift.rows import Rows

__all__ = ["Evidence", "Health", "Monitor", "State", "Status"]

log = structlog.stdlib.get_logger("drift")


class Status(enum.StrEnum):
    """How the service does."""

    OK = "ok"
    WAITING_FOR_DATA = "waiting_for_data"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verdict, and what it was reached on."""

    evaluation: Evaluation
    baseline: Baseline
    current: Rows


@dataclass(frozen=True, slots=True)
class State:
    """What the evaluations so far left behind; replaced as a whole, so that readers need no lock.

    `evidence` is that of the last evaluation that reached a verdict. `since` is when the status began (ISO 8601,
    UTC), `reason` why it is what it is, empty when it is ok.
    """

    status: Status
    reason: str
    since: str
    last: Evaluation | None = None
    evidence: Evidence | None = None

    @property
    def verdict(self) -> Evaluation | None:
        """The last evaluation that reached a verdict."""
        return self.evidence.evaluation if self.evidence else None


@dataclass(frozen=True, slots=True)
class Health:
    """What `GET /healthz` answers. `last_run` is when the last verdict was reached, None before the first."""

    status: Status
    reason: str
    since: str
    notes: tuple[str, ...]
    last_run: str | None
    last_outcome: Outcome | None
    evaluating: bool
    current_rows: int | None
    reference_rows: int


class Monitor:
    """Evaluates what `inputs` reads, when asked.

    `listener` is called after each evaluation, in the evaluating thread, with the evaluation, and the evidence when it
    reached a verdict.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        min_rows: int,
        alarm_runs: int,
        listener: Callable[[Evaluation, Evidence | None], None],
    ) -> None:
        self._inputs, self._min_rows, self._alarm_runs = inputs, min_rows, alarm_runs
        self._listener = listener
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evaluation")
        self._lock = threading.Lock()
        self._running: Future[Evaluation] | None = None
        self._stopping = False
        self._judged: Baseline | None = None
        self._persistence = Persistence(alarm_runs)
        self._state = State(Status.WAITING_FOR_DATA, "the first evaluation has not finished", _now())

    @property
    def state(self) -> State:
        """What the evaluations so far left behind."""
        return self._state

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
            notes=state.last.notes if state.last else (),
            last_run=state.verdict.evaluated_at if state.verdict else None,
            last_outcome=state.last.outcome if state.last else None,
            evaluating=running is not None and not running.done(),
            current_rows=state.last.rows if state.last else None,
            reference_rows=state.last.reference_rows if state.last else 0,
        )

    def stop(self, timeout_seconds: float) -> bool:
        """Take no more work, wait for what is under way; return whether it ended in time."""
        with self._lock:
            self._stopping = True
            self._worker.shutdown(wait=False, cancel_futures=True)
            running = self._running
        # What was cancelled before it began is over, which `wait` would not see.
        if running is None or running.cancelled():
            return True
        return not wait([running], timeout_seconds).not_done

    def _run(self) -> Evaluation:
        started = time.monotonic()
        evidence = None
        try:
            evaluation, evidence = self._evaluate()
        except DriftError as error:
            log.error("drift evaluation failed", reason=str(error))  # the sentence says it all: no traceback
            evaluation = self._failed(str(error))
        except Exception as error:
            # The edge of the process: a defect must not end the service.
            log.exception("drift evaluation failed", reason=repr(error))
            evaluation = self._failed(f"a defect, see the log: {error!r}")
        evaluation = replace(evaluation, duration_seconds=round(time.monotonic() - started, 3))
        if evidence is not None:
            evidence = replace(evidence, evaluation=evaluation)
        self._state = _next_state(self._state, evaluation, evidence)
        _log_result(evaluation)
        self._listener(evaluation, evidence)
        return evaluation

    def _evaluate(self) -> tuple[Evaluation, Evidence | None]:
        baseline, notes = self._inputs.baseline()
        if baseline is not self._judged:  # what was found against another reference does not count
            self._judged, self._persistence = baseline, Persistence(self._alarm_runs)
        current = self._inputs.current(baseline, time.time())
        evaluation = evaluate(baseline, current.rows, self._persistence, min_rows=self._min_rows)
        evaluation = replace(evaluation, rows_missing=current.rows_missing, notes=(*notes, *current.notes))
        if current.rows is None or evaluation.outcome is not Outcome.OK:
            return evaluation, None
        return evaluation, Evidence(evaluation, baseline, current.rows)

    def _failed(self, reason: str) -> Evaluation:
        reference_rows = len(self._judged.reference.rows) if self._judged else 0
        return without_verdict(Outcome.ERROR, reason, None, reference_rows)


def _next_state(state: State, evaluation: Evaluation, evidence: Evidence | None) -> State:
    status = {
        Outcome.OK: Status.OK,
        Outcome.INSUFFICIENT_DATA: Status.WAITING_FOR_DATA,
        Outcome.ERROR: Status.FAILING,
    }[evaluation.outcome]
    return State(
        status=status,
        reason=evaluation.reason,
        since=state.since if state.status is status else _now(),
        last=evaluation,
        evidence=evidence or state.evidence,
    )


def _log_result(evaluation: Evaluation) -> None:
    if evaluation.outcome is Outcome.INSUFFICIENT_DATA:
        log.info("Not enough current data to evaluate drift", reason=evaluation.reason, rows=evaluation.rows)
    alarm = evaluation.alarm
    if alarm is None:
        return
    fields = {
        "rows": evaluation.rows,
        "p_values": dict(alarm.p_values),
        "drift_share": evaluation.drift_share,
        "duration_seconds": evaluation.duration_seconds,
    }
    if alarm.any:
        raised = [scope for scope in alarm.p_values if getattr(alarm, scope)]
        level = alarm.levels["features"]
        spoke = {name: value for name, value in alarm.feature_p_values.items() if value <= level}
        log.warning("drift alarm", scopes=raised, feature_p_values=spoke, **fields)
    else:
        log.info("drift evaluated, no alarm", **fields)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
