"""The action: tells a receiver of a lasting alarm, at most once a cool-down, without ever holding up an evaluation."""

import enum
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from drift.action.message import Message, build_content
from drift.action.receiver import Answer, Receiver
from drift.action.record import Record, RecordFile
from drift.alarm.verdict import Alarm
from drift.evaluation import Evaluation

__all__ = ["Action", "ActionOutcome"]

log = structlog.stdlib.get_logger("drift")

#: The wait after a failure, which doubles with each more; attempts are made at evaluations, every five minutes.
_FIRST_WAIT_SECONDS: Final = 60.0
_LONGEST_WAIT_SECONDS: Final = 3600.0
#: 48 random bits tell the alarms of a service apart, and leave room in the name of a workflow.
_ID_CHARACTERS: Final = 12


class ActionOutcome(enum.StrEnum):
    """What came of a verdict with an alarm; the values of the label `outcome`."""

    OK = "ok"
    FAILED = "failed"
    COOLED_DOWN = "cooled_down"


class Action:
    """Sends the alarm to a receiver.

    An alarm has an id from its first verdict to the first without it, through restarts when there is a `directory`.
    While it lasts one call is made each `cooldown_seconds`, counted from the last one that was answered, whatever
    alarm that was for; what fails is tried again at later verdicts, after a wait that grows. `clock` gives the seconds
    since 1970.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        cooldown_seconds: float,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._receiver, self._cooldown_seconds, self._clock = receiver, cooldown_seconds, clock
        self._file = RecordFile(directory)
        self._record = self._file.read()
        #: Replaced as a whole: who reads it waits for no lock, which is held while the record is written.
        self._counts: Mapping[str, int] = {outcome.value: 0 for outcome in ActionOutcome}
        self._failures, self._not_before = 0, 0.0
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="action")
        self._running: Future[None] | None = None
        self._stopping = False

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each outcome was since the start; `cooled_down` counts verdicts with an alarm."""
        return self._counts

    def notify(self, evaluation: Evaluation, alarm: Alarm) -> None:
        """Take note of a verdict, and begin a call if one is due. Returns at once, and raises nothing of the call."""
        with self._lock:
            now = self._clock()
            self._follow(alarm, now)
            if self._stopping or self._record.alarm_id is None or self._is_busy():
                return
            if self._is_cooling_down(now):
                self._count(ActionOutcome.COOLED_DOWN)
            elif now >= self._not_before:
                message = self._message(self._record.alarm_id, evaluation, alarm, now)
                self._running = self._worker.submit(self._call, message)

    def stop(self, timeout_seconds: float) -> bool:
        """Begin no more calls, wait for the one under way; return whether it ended in time."""
        with self._lock:
            self._stopping = True
            running = self._running
            self._worker.shutdown(wait=False)
        return running is None or not wait([running], timeout_seconds).not_done

    def _follow(self, alarm: Alarm, now: float) -> None:
        """Bring the record up to date with the verdict."""
        record = self._record
        if alarm.any and record.alarm_id is None:
            record = replace(record, alarm_id=uuid.uuid4().hex[:_ID_CHARACTERS], calls=0)
        elif not alarm.any:
            record = replace(record, alarm_id=None, calls=0)
        if record.alarm_id != self._record.alarm_id:
            self._failures, self._not_before = 0, 0.0
        if record.called_at is not None and record.called_at > now:
            # The clock was set back; a call in the future would silence the action for longer than a cool-down.
            record = replace(record, called_at=now)
        self._keep(record)

    def _keep(self, record: Record) -> None:
        if record != self._record:
            self._record = record
            self._file.write(record)

    def _count(self, outcome: ActionOutcome) -> None:
        self._counts = {**self._counts, outcome: self._counts[outcome] + 1}

    def _is_busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def _is_cooling_down(self, now: float) -> bool:
        called_at = self._record.called_at
        return called_at is not None and now - called_at < self._cooldown_seconds

    def _message(self, alarm_id: str, evaluation: Evaluation, alarm: Alarm, now: float) -> Message:
        call_id = f"{alarm_id}-{self._record.calls + 1}"
        return Message(call_id, alarm_id, now, *_model_of(evaluation), build_content(evaluation, alarm))

    def _call(self, message: Message) -> None:
        try:
            answer = self._receiver.send(message)
        except Exception as error:
            # The edge of the thread: a defect must not pass for a call that is never answered.
            log.exception("drift action failed", id=message.id)
            answer = Answer(False, f"a defect, see the log: {error!r}")
        with self._lock:
            self._conclude(message, answer)

    def _conclude(self, message: Message, answer: Answer) -> None:
        now = self._clock()
        if answer.ok:
            self._count(ActionOutcome.OK)
            self._failures, self._not_before = 0, 0.0
            same = self._record.alarm_id == message.alarm_id  # it may have ended meanwhile
            self._keep(replace(self._record, calls=self._record.calls + same, called_at=now))
            log.warning("drift action taken", id=message.id, detail=answer.detail)
            return
        self._count(ActionOutcome.FAILED)
        # 2**10 minutes are beyond the longest wait; a power of the number of failures of a year would be none.
        doubled = min(_FIRST_WAIT_SECONDS * 2 ** min(self._failures, 10), _LONGEST_WAIT_SECONDS)
        after_seconds = doubled if answer.after_seconds is None else answer.after_seconds
        self._failures, self._not_before = self._failures + 1, now + after_seconds
        log.error(
            "drift action failed", id=message.id, detail=answer.detail, retry_after_seconds=after_seconds
        )


def _model_of(evaluation: Evaluation) -> tuple[str | None, str | None]:
    """Return name and version of the model that answered; nothing where several did, or the source does not tell."""
    names = {model.name for model in evaluation.models}
    versions = {model.version for model in evaluation.models}
    return (
        names.pop() if len(names) == 1 else None,
        versions.pop() if len(evaluation.models) == 1 else None,
    )
