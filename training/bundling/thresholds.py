"""Where trees split: the places at which a compiled model is most likely to differ from the original."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline

__all__ = ["splits"]


def splits(estimator: BaseEstimator) -> Iterator[tuple[int, float]]:
    """Yield (column of the matrix, threshold) of every split of trees, also behind what leaves values alone."""
    package = type(estimator).__module__.partition(".")[0]
    if isinstance(estimator, Pipeline):
        yield from _of_pipeline(estimator)
    elif package == "lightgbm":
        yield from _of_lightgbm(estimator)
    elif package == "xgboost":
        yield from _of_xgboost(estimator)
    elif hasattr(estimator, "tree_"):
        tree = estimator.tree_
        inner = tree.children_left != -1
        yield from zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)
    elif hasattr(estimator, "_predictors"):
        for predictor in np.ravel(np.asarray(estimator._predictors, dtype=object)):
            yield from _of_histogram(predictor.nodes)
    elif hasattr(estimator, "estimators_") and len(getattr(estimator, "estimators", [0])) == 1:
        # `estimators` marks voting and stacking, whose members may see other features, unless it is a vote of one.
        for member in np.ravel(np.asarray(estimator.estimators_, dtype=object)):
            yield from splits(member)


def _of_pipeline(pipeline: Pipeline) -> Iterator[tuple[int, float]]:
    (_, first), *rest = pipeline.steps
    if not rest:
        yield from splits(first)
    elif isinstance(first, ColumnTransformer):
        origin = _unchanged(first)
        inner = splits(Pipeline(rest))
        yield from ((origin[column], threshold) for column, threshold in inner if column in origin)


def _of_lightgbm(estimator: Any) -> Iterator[tuple[int, float]]:  # noqa: ANN401 (a package that may be missing)
    frame = estimator.booster_.trees_to_dataframe().dropna(subset=["threshold"])
    place = {name: place for place, name in enumerate(estimator.booster_.feature_name())}
    for name, threshold in zip(frame["split_feature"], frame["threshold"], strict=True):
        yield place[name], float(threshold)


def _of_histogram(nodes: Any) -> Iterator[tuple[int, float]]:  # noqa: ANN401 (a structured array)
    inner = nodes[nodes["is_leaf"] == 0]
    yield from zip(inner["feature_idx"].tolist(), inner["num_threshold"].tolist(), strict=True)


def _of_xgboost(estimator: Any) -> Iterator[tuple[int, float]]:  # noqa: ANN401 (a package that may be missing)
    booster = estimator.get_booster()
    frame = booster.trees_to_dataframe()
    frame = frame[frame["Feature"] != "Leaf"]
    names: Mapping[str, int] = {name: place for place, name in enumerate(booster.feature_names or [])}
    for name, threshold in zip(frame["Feature"], frame["Split"], strict=True):
        yield (names[name] if names else int(name.removeprefix("f"))), float(threshold)


def _unchanged(transformer: ColumnTransformer) -> dict[int, int]:
    """Return output column → input column where a number comes out as it went in."""
    origin: dict[int, int] = {}
    for name, part, places in transformer.transformers_:
        columns = transformer.output_indices_[name]
        kept = part == "passthrough" or isinstance(part, SimpleImputer) or _is_identity(part)
        if kept and columns.stop - columns.start == len(places):
            origin |= dict(zip(range(columns.start, columns.stop), places, strict=True))
    return origin


def _is_identity(part: Any) -> bool:  # noqa: ANN401 (scikit-learn puts a transformer where it says "passthrough")
    return type(part).__name__ == "FunctionTransformer" and part.func is None
