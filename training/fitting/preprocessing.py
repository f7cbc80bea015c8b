"""What happens to columns before an estimator sees them, inside the artifact and fitted with it.

A model with categories is a pipeline of three steps: `encode` makes the matrix (codes and NaN, as the server
makes it from a request), `prepare` works on the matrix by the places of its columns, `estimate` learns. Without
categories there is no `encode`, and without anything to prepare only the estimator itself.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from training.configuration.sections import PreprocessingSection, StepSection
from training.data.columns import Column
from training.errors import ConfigError, EstimatorError
from training.fitting.estimator import boosting_packages

__all__ = ["ENCODE", "assemble", "matrix_part"]

#: The first step of a model with categories. Servers know it by this name and leave it out.
ENCODE: Final = "encode"
_PREPARE: Final = "prepare"
_ESTIMATE: Final = "estimate"

#: `[[preprocessing]] columns` for all columns of a kind that no other entry names.
_NUMBERS: Final = "numbers"
_CATEGORIES: Final = "categories"


def assemble(
    estimator: BaseEstimator,
    columns: Sequence[Column],
    sections: Sequence[PreprocessingSection] | None,
    seed: int,
) -> BaseEstimator:
    """Return `estimator` behind what `sections` say of `columns`; None: behind what they need.

    Raises `ConfigError` for columns that do not exist, `EstimatorError` for transformers that do not.
    """
    steps: list[tuple[str, BaseEstimator]] = []
    if any(column.is_category for column in columns):
        steps.append((ENCODE, _encoder(columns)))
    prepare = _needed(columns) if sections is None else _configured(columns, sections, seed)
    if prepare is None and not steps and boosting_packages(estimator):
        # Their converters and they themselves refuse many names of columns; a matrix has none.
        prepare = ColumnTransformer([("keep", "passthrough", list(range(len(columns))))])
    if prepare is not None:
        steps.append((_PREPARE, prepare))
    return Pipeline([*steps, (_ESTIMATE, estimator)]) if steps else estimator


def matrix_part(estimator: BaseEstimator) -> BaseEstimator:
    """Return the part of a fitted model that takes the matrix: all of it but the step `encode`."""
    if isinstance(estimator, Pipeline) and estimator.steps[0][0] == ENCODE:
        rest = estimator.steps[1:]
        return rest[0][1] if len(rest) == 1 else Pipeline(rest)
    return estimator


def _encoder(columns: Sequence[Column]) -> ColumnTransformer:
    """Keep the columns in their order, and turn texts into their codes, all else into NaN."""
    parts: list[tuple[str, Any, list[str]]] = []
    for column in columns:
        how: Any = "passthrough"
        if column.is_category:
            how = OrdinalEncoder(
                categories=[np.asarray(column.categories, dtype=object)],
                handle_unknown="use_encoded_value",
                unknown_value=np.nan,
                encoded_missing_value=np.nan,
                dtype=np.float32,
            )
        parts.append((column.name, how, [column.name]))
    # Names with two underscores are refused by scikit-learn, and columns may have any.
    named = [(f"column_{place}", how, names) for place, (_, how, names) in enumerate(parts)]
    return ColumnTransformer(named, verbose_feature_names_out=False)


def _needed(columns: Sequence[Column]) -> ColumnTransformer | None:
    """Fill what may be missing, and give each category a column of its own; None when nothing is needed."""
    holes = [place for place, column in enumerate(columns) if column.nullable and not column.is_category]
    texts = [place for place, column in enumerate(columns) if column.is_category]
    plain = [place for place in range(len(columns)) if place not in {*holes, *texts}]
    parts: list[tuple[str, Any, list[int]]] = []
    if holes:
        parts.append(("fill", SimpleImputer(strategy="median", keep_empty_features=True), holes))
    for name, places, nullable in (
        ("spread", [place for place in texts if not columns[place].nullable], False),
        ("fill_spread", [place for place in texts if columns[place].nullable], True),
    ):
        if places:
            codes = [np.arange(len(columns[place].categories), dtype=np.float32) for place in places]
            one_hot = OneHotEncoder(
                categories=codes, handle_unknown="ignore", sparse_output=False, dtype=np.float32
            )
            fill = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
            parts.append(
                (name, Pipeline([("fill", fill), ("spread", one_hot)]) if nullable else one_hot, places)
            )
    if not parts:
        return None
    if plain:
        parts.append(("keep", "passthrough", plain))
    return ColumnTransformer(parts)


def _configured(
    columns: Sequence[Column], sections: Sequence[PreprocessingSection], seed: int
) -> ColumnTransformer | None:
    """Do what the configuration says; columns that no entry names go on unchanged."""
    if not sections:
        return None
    named = list(_places(columns, sections))
    parts: list[tuple[str, Any, list[int]]] = []
    for number, (section, places) in enumerate(zip(sections, named, strict=True)):
        steps = [(f"step_{place}", _build(step, seed)) for place, step in enumerate(section.steps)]
        parts.append((f"entry_{number}", steps[0][1] if len(steps) == 1 else Pipeline(steps), places))
    rest = [place for place in range(len(columns)) if not any(place in places for places in named)]
    if rest:
        parts.append(("keep", "passthrough", rest))
    return ColumnTransformer(parts, sparse_threshold=0)


def _places(columns: Sequence[Column], sections: Sequence[PreprocessingSection]) -> Iterator[list[int]]:
    """Yield the places of the columns of each entry."""
    place_of = {column.name: place for place, column in enumerate(columns)}
    taken = {name for section in sections for name in section.columns if name in place_of}
    kinds = {
        _NUMBERS: [c.name for c in columns if not c.is_category and c.name not in taken],
        _CATEGORIES: [c.name for c in columns if c.is_category and c.name not in taken],
    }
    problems, seen = [], dict[str, int]()
    for number, section in enumerate(sections):
        names = [one for name in section.columns for one in _expanded(name, place_of, kinds)]
        for name in names:
            if name not in place_of:
                known = ", ".join(place_of)
                problems.append(
                    f"[[preprocessing]] {number}: there is no column {name!r}; features are {known}"
                )
            elif seen.setdefault(name, number) != number:
                problems.append(
                    f"[[preprocessing]] {number}: entry {seen[name]} has the column {name} already"
                )
        if not names:
            problems.append(
                f"[[preprocessing]] {number}: {', '.join(section.columns)} stands for no column here"
            )
        if not problems:
            yield [place_of[name] for name in names]
    if problems:
        raise ConfigError(problems, source="the configuration")


def _expanded(name: str, place_of: Mapping[str, int], kinds: Mapping[str, list[str]]) -> list[str]:
    return [name] if name in place_of else kinds.get(name, [name])


def _build(step: StepSection, seed: int) -> BaseEstimator:
    module_name, _, name = step.class_path.rpartition(".")
    remedy = "correct [[preprocessing]] steps; a class is named like sklearn.preprocessing.StandardScaler"
    try:
        kind = getattr(importlib.import_module(module_name), name)
        transformer = kind(**step.parameters)
    except (ImportError, AttributeError, TypeError) as error:
        raise EstimatorError(step.class_path, str(error), remedy) from None
    if not (isinstance(transformer, BaseEstimator) and hasattr(transformer, "transform")):
        raise EstimatorError(step.class_path, "it is no scikit-learn transformer", remedy)
    if "random_state" in transformer.get_params() and "random_state" not in step.parameters:
        transformer.set_params(random_state=seed)
    return transformer
