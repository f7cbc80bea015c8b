"""From the columns of a dataset to rows: first as they are written, then in the form of the schema."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from drift.data.arrow_values import int_values, place_array
from drift.data.columns import to_codes, to_numbers, to_texts
from drift.data.content import BrokenContentError
from drift.data.csv_file import MISSING
from drift.rows import PROBABILITY_ROUNDING, Predictions, Rows, Schema

__all__ = ["RowColumns", "finish"]


@dataclass(frozen=True, slots=True)
class RowColumns:
    """The columns of a dataset that rows are made of: those of numbers and those of texts."""

    schema: Schema
    numbers: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, names: list[str], schema: Schema) -> "RowColumns":
        """Choose among all `names` of a dataset."""
        texts = [schema.feature_names[place] for place in schema.category_places]
        numbers = [name for name in schema.feature_names if name not in texts]
        numbers += [name for name in ("confidence",) if name in names]
        texts += [name for name in ("prediction", "target") if name in names]
        return cls(schema, tuple(numbers), tuple(texts))

    def read(self, batch: pa.RecordBatch, chosen: NDArray[np.intp]) -> Rows:
        """Return the `chosen` rows of a batch, predictions and targets as texts. Raises `NotANumberError`.

        All numbers are looked at, those of other rows as well.
        """
        features = np.empty((len(chosen), len(self.schema.feature_names)))
        for place, name in enumerate(self.schema.feature_names):
            column = batch.column(name)
            is_number = name in self.numbers
            values = to_numbers(column, name) if is_number else to_codes(column, self.schema, place)
            features[:, place] = values[chosen]
        texts = {
            name: _objects(batch.column(name).take(place_array(chosen)))
            for name in ("prediction", "target")
            if name in self.texts
        }
        has_confidence = "confidence" in self.numbers
        confidences = to_numbers(batch.column("confidence"), "confidence")[chosen] if has_confidence else None
        return Rows(features, texts["prediction"], confidences, texts.get("target"))


def finish(rows: Rows, schema: Schema) -> Rows:
    """Return what `RowColumns.read` gave in the form of the schema. Raises `BrokenContentError`."""
    return Rows(
        rows.features,
        _predictions(rows.predictions, schema),
        None if rows.confidences is None else _confidences(rows.confidences),
        None if rows.targets is None else _targets(rows.targets, schema),
    )


def _objects(column: pa.Array) -> Predictions:
    """Return the texts of a column; those that are equal share their memory."""
    encoded = to_texts(column).dictionary_encode()
    distinct = np.array(encoded.dictionary.to_pylist(), dtype=object)
    texts: Predictions = distinct[int_values(encoded.indices)]
    return texts


def _predictions(texts: Predictions, schema: Schema) -> Predictions:
    try:
        return schema.predictions(texts.tolist())
    except ValueError as error:
        reason = f"has a prediction that is no {schema.kind} ({error})"
        raise BrokenContentError(reason, "give every row one") from None


def _targets(texts: Predictions, schema: Schema) -> Predictions | None:
    missing = MISSING if schema.kind == "number" else ("",)
    known = np.array([text not in missing for text in texts], dtype=bool)
    if not known.any():
        return None
    form = np.float64 if schema.kind == "number" else object
    targets: Predictions = np.full(len(texts), np.nan if form is np.float64 else None, dtype=form)
    try:
        targets[known] = schema.predictions(texts[known].tolist())
    except ValueError as error:
        reason = f"has a target that is no {schema.kind}, as the predictions are ({error})"
        raise BrokenContentError(
            reason, "correct it, leave the cell empty, or leave out the column"
        ) from None
    return targets


def _confidences(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    wrong = known[(known < 0) | (known > 1 + PROBABILITY_ROUNDING)]
    if len(wrong):
        reason = f"has a confidence that is no share from 0 to 1 ({wrong[0]:g})"
        raise BrokenContentError(
            reason, "give the highest class probability of each row, or leave out the column"
        )
    return np.minimum(values, 1.0)
