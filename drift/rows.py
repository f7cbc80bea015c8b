"""Rows that a model answered: features in model order, and the prediction of each row.

A prediction is a label (classification) or a number (regression). Which of the two is decided once, on the
reference, and the current rows follow: the same class may be written `1`, `1.0` or `"1"` on the two sides.
"""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PROBABILITY_ROUNDING",
    "SAMPLE_SEED",
    "Features",
    "PredictionKind",
    "Predictions",
    "Reference",
    "Rows",
    "Schema",
    "as_number",
    "infer_kind",
    "row_key",
]

PredictionKind = Literal["label", "number"]
Features = NDArray[np.float64]
Predictions = NDArray[Any]

#: Seed of every sample of rows, so that the same data give the same result.
SAMPLE_SEED: Final = 20020106
#: Probabilities that are summed in single precision, as servers do, end up to so much above 1.
PROBABILITY_ROUNDING: Final = 1e-6
#: Whole numbers with more distinct values than this are counts, not classes.
MAX_WHOLE_NUMBER_LABELS: Final = 50

_WHOLE_WITH_POINT = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in columns.

    `features` has the shape (rows, features), float64 in model order, NaN for missing values; a feature of texts is
    there as their codes (see `Schema`). `predictions` has the shape (rows,): labels as text (dtype object) or
    numbers (float64). The others have the shape (rows,) as well, and are None where a source does not have them.
    """

    features: Features
    predictions: Predictions
    #: Highest class probability of each row, 0 to 1; NaN where a row has none.
    confidences: NDArray[np.float64] | None = None
    #: What would have been right, in the form of the predictions; None in place of a label that is unknown, NaN in
    #: place of a number.
    targets: Predictions | None = None
    #: Which row of which prediction event each is: what `row_key` returns, int64.
    keys: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def identities(self) -> NDArray[np.int64]:
        """Return one number for each row: its key, or, where there are none, that of all the rows for each."""
        if self.keys is not None:
            return self.keys
        digest = zlib.crc32(np.ascontiguousarray(self.features).view(np.uint8).data)
        digest = zlib.crc32("\x1f".join(map(str, self.predictions)).encode("utf-8", "replace"), digest)
        return np.full(len(self), digest, np.int64)

    def take(self, index: NDArray[np.intp]) -> "Rows":
        """Return the rows at `index`, in its order."""
        columns: Any = (None if column is None else column[index] for column in self._columns())
        return Rows(*columns)

    @classmethod
    def concatenate(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return the rows of all parts, at least one; a column that one of them lacks is left out."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        joined: Any = (None if any(one is None for one in each) else np.concatenate(each) for each in columns)
        return cls(*joined)

    def _columns(self) -> tuple[Any, ...]:
        return (self.features, self.predictions, self.confidences, self.targets, self.keys)


def row_key(event_id: str, part: int, row: int) -> int:
    """Return what stands for one row of one part of an event, as long as this process lives."""
    return hash((event_id, part, row))


@dataclass(frozen=True, slots=True)
class Schema:
    """What a row must look like: the feature columns in order, and the kind of prediction.

    `categories` has for each feature the texts that the reference has of it, empty for a feature of numbers; it is
    empty altogether when all features are numbers. A text's code is its place there; a text that the reference does
    not have has the code after the last.
    """

    feature_names: tuple[str, ...]
    kind: PredictionKind
    categories: tuple[tuple[str, ...], ...] = ()

    @property
    def category_places(self) -> list[int]:
        """The features that are texts."""
        return [place for place, texts in enumerate(self.categories) if texts]

    def codes(self, place: int, texts: Sequence[str | None]) -> Features:
        """Return the codes of the values of one feature of texts, NaN for None."""
        known: dict[str | None, float] = {text: code for code, text in enumerate(self.categories[place])}
        known[None] = math.nan
        return np.array([known.get(text, len(known) - 1) for text in texts])

    def predictions(self, values: Sequence[object]) -> Predictions:
        """Return `values` in one form, so that equal predictions are equal.

        Raises `ValueError` when one is not of the kind of the schema.
        """
        if self.kind == "number":
            return np.array([as_number(value) for value in values], dtype=np.float64)
        return np.array([_label(value) for value in values], dtype=object)


@dataclass(frozen=True, slots=True)
class Reference:
    """The dataset that current rows are compared with. `total_rows` counts those before sampling."""

    schema: Schema
    rows: Rows
    total_rows: int


def infer_kind(predictions: Sequence[str]) -> PredictionKind:
    """Tell numbers from labels: numbers have a fraction somewhere, or too many distinct whole values."""
    distinct = set(predictions)
    try:
        values = [as_number(text) for text in distinct]
    except ValueError:
        return "label"
    fractions = any(not value.is_integer() for value in values)
    return "number" if fractions or len(set(values)) > MAX_WHOLE_NUMBER_LABELS else "label"


def as_number(value: object) -> float:
    """Return the finite number that `value` is, or is written as. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not a number")
    if (
        isinstance(value, str) and "_" in value
    ):  # Python's own way to write 1_000, and a label everywhere else
        raise ValueError(f"{value!r} is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _label(value: object) -> str:
    if not isinstance(value, (str, int, float)) or value == "":
        raise ValueError(f"{value!r} is not a label")
    text = str(value)
    whole = _WHOLE_WITH_POINT.fullmatch(text)
    return whole.group(1) if whole else text
