"""The monitor: runs evaluations one at a time in a thread of its own, and remembers how they went."""

import enum
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from drift.alarm.persistence import Persistence
from drift.baseline import Baseline
from drift.current.event_filter import SkipReason
from drift.errors import DriftError, ShuttingDownError
from drift.evaluation import Evaluation, Outcome, evaluate, without_verdict
from drift.inputs import Inputs
from drift.rows import Rows
from drift.state_file import StateFile

__all__ = ["Evidence", "Health", "Monitor", "State", "Status"]

#: An evaluation takes seconds, and reading from Loki four minutes at most; a file system may hang for ever.
STUCK_SECONDS: Final = 600.0

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
        directory: Path | None = None,
    ) -> None:
        """Keep in `directory`, if there is one, how often the alarm's test spoke in a row."""
        self._inputs, self._min_rows, self._alarm_runs = inputs, min_rows, alarm_runs
        self._listener = listener
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evaluation")
        self._lock = threading.Lock()
        self._running: Future[Evaluation] | None = None
        self._began = 0.0
        self._stopping = False
        self._skipped: Counter[SkipReason] = Counter()
        self._judged: Baseline | None = None
        self._persistence = Persistence(alarm_runs)
        self._file = StateFile(directory, "alarm.json", without="after a restart an alarm begins anew")
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
                self._began = time.monotonic()
                self._running = self._worker.submit(self._run)
            return self._running

    def health(self) -> Health:
        """Return how the service does now."""
        state, running = self._state, self._running
        evaluating = running is not None and not running.done()
        lasted = time.monotonic() - self._began if evaluating else 0.0
        stuck = lasted > STUCK_SECONDS
        return Health(
            status=Status.FAILING if stuck else state.status,
            reason=f"the evaluation under way has not ended for {lasted:.0f} s" if stuck else state.reason,
            since=_ago(lasted) if stuck else state.since,
            notes=state.last.notes if state.last else (),
            last_run=state.verdict.evaluated_at if state.verdict else None,
            last_outcome=state.last.outcome if state.last else None,
            evaluating=evaluating,
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
        skipped = self._inputs.take_skipped()
        self._skipped.update(skipped)
        if evaluation.outcome is Outcome.INSUFFICIENT_DATA and self._skipped:
            evaluation = replace(evaluation, reason=f"{evaluation.reason}; {_told(self._skipped)}")
        evaluation = replace(
            evaluation,
            skipped={str(reason): count for reason, count in skipped.items()},
            duration_seconds=round(time.monotonic() - started, 3),
        )
        if evidence is not None:
            evidence = replace(evidence, evaluation=evaluation)
        self._state = _next_state(self._state, evaluation, evidence)
        _log_result(evaluation)
        try:
            self._listener(evaluation, evidence)
        except Exception as error:
            # Who listens must not take the result from those who asked for it.
            log.exception("an evaluation was not passed on", reason=repr(error))
        return evaluation

    def _evaluate(self) -> tuple[Evaluation, Evidence | None]:
        baseline, notes = self._inputs.baseline()
        if baseline is not self._judged:  # what was found against another reference does not count
            self._judged, self._persistence = baseline, self._recall(baseline)
        current = self._inputs.current(baseline, time.time())
        evaluation = evaluate(baseline, current.rows, self._persistence, min_rows=self._min_rows)
        evaluation = replace(
            evaluation,
            rows_missing=current.rows_missing,
            notes=(*notes, *current.notes),
            models=current.models,
        )
        if current.rows is None or evaluation.outcome is not Outcome.OK:
            return evaluation, None
        self._file.write({"reference": baseline.digest, "scopes": self._persistence.saved()})
        return evaluation, Evidence(evaluation, baseline, current.rows)

    def _recall(self, baseline: Baseline) -> Persistence:
        """Return how often the test spoke in a row against this reference, before a restart too."""
        persistence, saved = Persistence(self._alarm_runs), self._file.read()
        if saved.get("reference") == baseline.digest and isinstance(saved.get("scopes"), dict):
            persistence.restore(saved["scopes"])
        return persistence

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


def _told(skipped: Counter[SkipReason]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in skipped.most_common())
    return f"lines skipped since the start: {reasons}"


def _log_result(evaluation: Evaluation) -> None:
    if evaluation.outcome is Outcome.INSUFFICIENT_DATA:
        log.info("Not enough current data to evaluate drift", reason=evaluation.reason, rows=evaluation.rows)
    alarm = evaluation.alarm
    if alarm is None:
        return
    fields = {
        "rows": evaluation.rows,
        "p_values": _shortened(alarm.p_values),
        "drift_share": evaluation.drift_share,
        "duration_seconds": evaluation.duration_seconds,
    }
    if alarm.any:
        raised = [scope for scope in alarm.p_values if getattr(alarm, scope)]
        level = alarm.levels["features"]
        spoke = {name: value for name, value in alarm.feature_p_values.items() if value <= level}
        log.warning("drift alarm", scopes=raised, feature_p_values=_shortened(spoke), **fields)
    elif any(alarm.runs.values()):
        runs = {scope: count for scope, count in alarm.runs.items() if count}
        log.info("drift found, not yet an alarm", runs=runs, runs_needed=alarm.runs_needed, **fields)
    else:
        log.info("drift evaluated, no alarm", **fields)


def _shortened(p_values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.3g}") for name, value in p_values.items()}


def _now() -> str:
    return _ago(0.0)


def _ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
