"""The reference, prepared once: what every comparison needs of it and no comparison changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from drift.rows import Predictions, Reference, Rows, Schema
from drift.statistics.choice import Choice, Methods
from drift.statistics.method import MAX_VALUES_AS_LABELS, ColumnKind, Method, default_method
from drift.statistics.sample import Labels, Numbers, Sample, count_pairs

__all__ = ["NEW_TEXT", "PREDICTION", "TARGET", "Column", "Prepared", "prepare"]

PREDICTION: Final = "prediction"
TARGET: Final = "target"
#: What a text is called that the reference does not have.
NEW_TEXT: Final = "(not in the reference)"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of the reference. `texts` are what its codes stand for, and empty for all but features of texts."""

    name: str
    kind: ColumnKind
    texts: Sequence[str]
    choice: Choice | None
    reference: Sample

    def sample(self, values: Predictions) -> Sample:
        """Count the values of this column in other rows."""
        return _sample(values, self.kind, self.texts, self.choice)

    def method_for(self, current: Sample, reference_rows: int) -> Method:
        """Return the method: the chosen one, or Evidently's default."""
        if self.choice is not None:
            return self.choice.method
        return default_method(self.kind, reference_rows, _distinct(self.reference, current))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The columns of the reference: features in model order, predictions, and targets where it has them.

    `reference_rows` are those that it was made of, with those that have no value.
    """

    schema: Schema
    features: tuple[Column, ...]
    prediction: Column
    target: Column | None
    reference_rows: int

    def columns(self, rows: Rows) -> Iterator[tuple[Column, Predictions]]:
        """Yield each column with its values in `rows`: the features, the predictions, targets if both have them."""
        for place, column in enumerate(self.features):
            yield column, rows.features[:, place]
        yield self.prediction, rows.predictions
        if self.target is not None and rows.targets is not None:
            yield self.target, rows.targets


def prepare(reference: Reference, methods: Methods | None = None) -> Prepared:
    """Prepare a reference. Raises `UnfitMethodError` when `methods` do not fit its columns."""
    methods = methods or Methods()
    schema, rows = reference.schema, reference.rows
    methods.check([*schema.feature_names, PREDICTION, TARGET])
    kind: ColumnKind = "numerical" if schema.kind == "number" else "categorical"
    features = []
    for place, name in enumerate(schema.feature_names):
        known = schema.categories[place] if schema.categories else ()
        texts = (*known, NEW_TEXT) if known else ()
        features.append(
            _column(name, "categorical" if texts else "numerical", texts, methods, rows.features[:, place])
        )
    return Prepared(
        schema=schema,
        features=tuple(features),
        prediction=_column(PREDICTION, kind, (), methods, rows.predictions),
        target=None if rows.targets is None else _column(TARGET, kind, (), methods, rows.targets),
        reference_rows=len(rows),
    )


def _column(
    name: str, kind: ColumnKind, texts: Sequence[str], methods: Methods, values: Predictions
) -> Column:
    choice = methods.of(name, kind)
    sample = _sample(values, kind, texts, choice)
    if isinstance(sample, Numbers) and len(sample):  # now, not in the first comparison
        _ = sample.mean, sample.deviation, sample.distinct_count
    return Column(name, kind, texts, choice, sample)


def _sample(values: Predictions, kind: ColumnKind, texts: Sequence[str], choice: Choice | None) -> Sample:
    keeps_order = choice is not None and choice.method.keeps_order
    if texts:
        return Labels.of_codes(values, texts, keeps_order=keeps_order)
    if kind == "categorical":
        return Labels.of(values.tolist(), keeps_order=keeps_order)
    return Numbers.of(values, keeps_order=keeps_order)


def _distinct(reference: Sample, current: Sample) -> int:
    """Count the values of both sides together; more than a method could ask for is not counted out."""
    for side in (reference, current):
        if side.distinct_count > MAX_VALUES_AS_LABELS:
            return side.distinct_count
    return len(count_pairs(reference, current)[0])
