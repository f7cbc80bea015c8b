"""Events gathered to rows: arrays are made once for thousands of events, not once for each."""

from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.current.prediction_event import PredictionEvent
from drift.rows import PROBABILITY_ROUNDING, Features, Rows, Schema, row_key

__all__ = ["BATCH_ROWS", "EventBatch", "GatheredRows"]

#: Rows gathered before arrays are made of them: enough that the making costs little, few enough to be small.
BATCH_ROWS: Final = 8192

_NAN: Final = float("nan")


@dataclass(frozen=True, slots=True)
class GatheredRows:
    """Rows of several events. `events` has an id, `times` a time, and `counts` a number of rows for each event."""

    rows: Rows
    events: NDArray[np.int64]
    times: NDArray[np.float64]
    counts: NDArray[np.intp]


@dataclass(slots=True)
class EventBatch:
    """Events that are not rows yet."""

    schema: Schema
    _events: list[int] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _features: list[tuple[Any, ...]] = field(default_factory=list)
    _predictions: list[Any] = field(default_factory=list)
    _confidences: list[float] = field(default_factory=list)
    _keys: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._features)

    def add(self, event: PredictionEvent[Any, Any], moment: float) -> None:
        """Take in an event of the moment `moment`, when its line has no time of its own."""
        timestamp, features, event_id = event.timestamp, event.features, event.event_id
        part, count = event.part or 0, len(features)
        self._events.append(hash((event_id, part)))
        self._times.append(moment if timestamp is None else timestamp)
        self._counts.append(count)
        probabilities = event.probabilities if len(event.probabilities) == count else [[]] * count
        if count == 1:  # nearly all are, and this is the path that must be short
            self._features.append(features[0])
            self._predictions.append(event.predictions[0])
            self._keys.append(row_key(event_id, part, 0))
            self._confidences.append(max(probabilities[0], default=_NAN))
        else:
            self._features += features
            self._predictions += event.predictions
            self._keys += [row_key(event_id, part, row) for row in range(count)]
            self._confidences += [max(row, default=_NAN) for row in probabilities]

    def gather(self) -> GatheredRows:
        """Return the events as rows."""
        number = self.schema.kind == "number"
        rows = Rows(
            features=self._feature_columns(),
            predictions=np.array(self._predictions, dtype=np.float64 if number else object),
            confidences=_confidences(self._confidences),
            keys=np.array(self._keys, dtype=np.int64),
        )
        return GatheredRows(
            rows,
            events=np.array(self._events, dtype=np.int64),
            times=np.array(self._times, dtype=np.float64),
            counts=np.array(self._counts, dtype=np.intp),
        )

    def _feature_columns(self) -> Features:
        width = len(self.schema.feature_names)
        if not self.schema.category_places:
            cells, count = chain.from_iterable(self._features), len(self._features) * width
            try:
                return np.fromiter(cells, np.float64, count).reshape(-1, width)
            except TypeError:  # a missing value somewhere: slower, and None becomes NaN
                return np.array(self._features, dtype=np.float64)
        columns = [
            self.schema.codes(place, cells) if known else np.array(cells, dtype=np.float64)
            for place, (cells, known) in enumerate(
                zip(zip(*self._features, strict=True), self.schema.categories, strict=True)
            )
        ]
        return np.stack(columns, axis=1)


def _confidences(values: list[float]) -> NDArray[np.float64]:
    found = np.array(values, dtype=np.float64)
    found[~((found >= 0) & (found <= 1 + PROBABILITY_ROUNDING))] = np.nan
    return np.minimum(found, 1.0)
