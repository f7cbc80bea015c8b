"""Prediction events: what the server says about each answered request, for drift and rollout to read.

A request pays for one append to a bounded queue. The thread of `LineWriter` calls `_Event.encode` later.
"""

import random
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.artifacts import Outputs
from inference.event_lines import MAX_LINE_BYTES, lines_of
from inference.lines import LineWriter
from inference.metrics import Metrics

if TYPE_CHECKING:
    from inference.generation import Generation

__all__ = ["MAX_LINE_BYTES", "EventLog", "PredictionRecord"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class PredictionRecord(NamedTuple):
    """One answered request."""

    #: Seconds since the epoch.
    answered_at: float
    event_id: str
    correlation_id: str
    generation: "Generation"
    features: NDArray[np.float32]
    outputs: Outputs
    shadow: bool


class EventLog:
    """Samples records and hands them to the writer."""

    def __init__(self, writer: LineWriter, metrics: Metrics, *, track: str, sample_rate: float) -> None:
        self._writer = writer
        self._sample_rate = sample_rate
        self.track: Final = track
        self.outcomes: Final = metrics.events
        self._said_too_wide = False

    def append(self, record: PredictionRecord) -> None:
        """Log `record` later, or count why not; never waits."""
        if self._sample_rate < 1 and random.random() >= self._sample_rate:
            self.outcomes["sampled_out"].inc()
        elif not self._writer.offer(_Event(record, self)):
            self.outcomes["dropped"].inc()

    def say_too_wide(self, record: PredictionRecord) -> None:
        """Log once that rows of this model do not fit a line."""
        if not self._said_too_wide:
            self._said_too_wide = True
            _log.warning(
                "prediction events lost: one row needs a longer line than log collectors keep",
                features=record.features.shape[1],
                limit_bytes=MAX_LINE_BYTES,
            )


class _Event:
    """A record in the writer's queue."""

    __slots__ = ("_log", "_record", "numbers")

    def __init__(self, record: PredictionRecord, log: EventLog) -> None:
        self._record = record
        self._log = log
        self.numbers = record.features.size * 2  # features, and about as many outputs again

    def settle(self, *, written: bool) -> None:
        self._log.outcomes["written" if written else "failed"].inc()

    def encode(self) -> bytes:
        try:
            return lines_of(self._record, self._log.track)
        except ValueError:
            self._log.say_too_wide(self._record)
            raise
