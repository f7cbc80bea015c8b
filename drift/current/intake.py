"""The intake: lines in, rows in the window, and a count of what was skipped."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog

from drift.current.cut_line import LineJoiner
from drift.current.event_batch import BATCH_ROWS, EventBatch
from drift.current.event_filter import EventFilter, ServedModel, SkipReason
from drift.current.prediction_event import EventReader, PredictionEvent
from drift.current.seen import SeenIds
from drift.current.window import Window
from drift.rows import SAMPLE_SEED, Rows, Schema

__all__ = ["Intake", "Line"]

#: Characters of a line that is no JSON that the log shows.
_EXAMPLE_LENGTH = 200

#: Models that are told apart, and characters of their names that are shown: events say what they like.
_MOST_MODELS: Final = 20
_NAME_LENGTH: Final = 100

log = structlog.stdlib.get_logger("drift")

#: A line, the time that is its own when it names none (seconds since 1970), and the stream it is of.
Line = tuple[bytes | str, float, Hashable]


@dataclass(slots=True)
class _NotJson:
    """Lines that are no JSON since the last sample, and one of them."""

    lines: int = 0
    example: str = ""


class Intake:
    """Rows of the prediction events of the last `range_seconds`, at most `max_rows` of them."""

    def __init__(
        self,
        schema: Schema,
        event_filter: EventFilter,
        *,
        range_seconds: float,
        max_rows: int,
        labels: Iterable[object] = (),
    ) -> None:
        self._range_seconds = range_seconds
        self._schema = schema
        self._reader = EventReader(schema, event_filter, labels)
        self._batch = EventBatch(schema)
        self._joiner = LineJoiner()
        self._window = Window(max_rows, range_seconds, SAMPLE_SEED)
        self._seen = SeenIds()
        self._skipped: Counter[SkipReason] = Counter()
        self._not_json: dict[str, _NotJson] = {}
        #: When each model that answered did so last.
        self._served: dict[tuple[str | None, str | None], float] = {}

    def take(self, lines: Iterable[Line], now: float, *, origin: str) -> None:
        """Read lines. Those that are no JSON are counted; `sample` logs them, one line for each `origin`."""
        not_json, read = self._not_json.setdefault(origin, _NotJson()), self._reader.read
        for line, moment, stream in lines:
            found = read(line)
            if found is None:
                continue
            if not isinstance(found, SkipReason):
                self._take_event(found, moment, now)
                if len(self._batch) >= BATCH_ROWS:
                    self._settle(now)
                continue
            if found in {SkipReason.NOT_JSON, SkipReason.MALFORMED_EVENT}:
                self._take_cut(line, moment, stream, found, not_json, now)
            else:
                self._skipped[found] += 1
        self._settle(now)

    def take_again(self, lines: Iterable[Line], now: float) -> None:
        """Read lines most of which were read before: events that are new count, and nothing is told of the rest."""
        told = self._skipped, self._not_json, self._joiner
        # The parts of lines that are open elsewhere stay as they are.
        self._skipped, self._not_json, self._joiner = Counter(), {}, LineJoiner()
        self.take(lines, now, origin="")
        self._skipped, self._not_json, self._joiner = told

    def sample(self, now: float) -> Rows | None:
        """Return the window that ends at `now`, None when it is empty."""
        for origin, found in self._not_json.items():
            if found.lines:
                log.warning(
                    "Skipping non-JSON log line", origin=origin, lines=found.lines, example=found.example
                )
        self._not_json.clear()
        begin = now - self._range_seconds
        self._seen.forget(begin)
        self._served = {model: last for model, last in self._served.items() if last >= begin}
        return self._window.sample(now)

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """The models that answered the rows of the last sample; an answer is what its event says it is."""
        short = slice(_NAME_LENGTH)
        return tuple(
            sorted(ServedModel((name or "")[short], (version or "")[short]) for name, version in self._served)
        )

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""
        skipped, self._skipped = self._skipped, Counter()
        return skipped

    def remembers(self, moment: float) -> bool:
        """Whether every event since `moment` would be known again."""
        return moment > self._seen.forgotten_until

    def _take_event(self, event: PredictionEvent[Any, Any], moment: float, now: float) -> None:
        self._batch.add(event, moment)
        model = event.model, event.version
        if model in self._served or len(self._served) < _MOST_MODELS:
            self._served[model] = min(now, event.timestamp or moment)

    def _take_cut(
        self,
        line: bytes | str,
        moment: float,
        stream: Hashable,
        reason: SkipReason,
        not_json: _NotJson,
        now: float,
    ) -> None:
        """Take in a line that is no event as it stands: in the frame of CRI, or a part of one."""
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        if not text.strip():
            return
        joined = self._joiner.add(text, stream)
        if self._joiner.abandoned:
            self._skipped[SkipReason.MALFORMED_EVENT] += self._joiner.abandoned
            self._joiner.abandoned = 0
        if joined is None:
            return
        whole, written = joined
        found = reason if whole == text else self._reader.read(whole)
        if found is SkipReason.NOT_JSON:
            not_json.lines += 1
            not_json.example = not_json.example or whole[:_EXAMPLE_LENGTH].rstrip()
        if isinstance(found, SkipReason):
            self._skipped[found] += 1
        elif found is not None:
            self._take_event(found, moment if written is None else written, now)

    def _settle(self, now: float) -> None:
        """Make rows of the batch, and put those into the window that are new and not too old."""
        if not len(self._batch):
            return
        gathered, self._batch = self._batch.gather(), EventBatch(self._schema)
        # A clock ahead of ours must not keep rows for ever.
        times = np.minimum(gathered.times, now)
        recent = times >= now - self._range_seconds
        self._skipped[SkipReason.OUTSIDE_WINDOW] += int((~recent).sum())
        kept = recent.copy()
        kept[recent] = self._seen.add(gathered.events[recent], times[recent])
        self._skipped[SkipReason.DUPLICATE] += int((recent & ~kept).sum())
        rows = gathered.rows
        if not kept.all():
            rows = rows.take(np.flatnonzero(np.repeat(kept, gathered.counts)))
        if len(rows):
            self._window.add(np.repeat(times[kept], gathered.counts[kept]), rows)
        self._skipped = +self._skipped  # without the zeros
