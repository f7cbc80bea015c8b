"""The features of a plain model: from its MLflow signature, or else from what the estimator remembers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType
from sklearn.base import BaseEstimator

from training.errors import BundleError

__all__ = ["PlainFeature", "describe_error", "read_features"]

_WHOLE: Final = frozenset({DataType.integer, DataType.long, DataType.boolean})
_FRACTION: Final = frozenset({DataType.float, DataType.double})
_REMEDY: Final = "log it with a signature of numbers, or register it with `python -m training.train`"
_REASON_LENGTH: Final = 300


@dataclass(frozen=True)
class PlainFeature:
    """One input column; `whole` when only whole numbers make sense in it."""

    name: str
    whole: bool = False


def describe_error(error: Exception) -> str:
    """Return what somebody else's code says in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_REASON_LENGTH]


def read_features(
    directory: Path, signature: ModelSignature | None, estimator: BaseEstimator
) -> tuple[PlainFeature, ...]:
    """Return the features in the order of a row, which is that of the estimator where it remembers one.

    Raises `BundleError` for columns that are no numbers, and for a signature that is not the estimator's.
    """
    remembered = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    width = _width(estimator)
    schema = None if signature is None else signature.inputs
    if schema is None or any(isinstance(spec.type, AnyType) for spec in schema.inputs):
        # MLflow writes `Any` where it failed to infer a signature.
        if not width:
            reason = "neither its signature nor its estimator tells how many features it takes"
            raise BundleError(str(directory), reason, _REMEDY)
        features = _unnamed(width)
    elif schema.is_tensor_spec():
        features = _of_tensor(directory, schema)
    else:
        features = _of_columns(directory, schema)
    if width and len(features) != width:
        reason = f"its signature has {len(features)} features and its estimator takes {width}"
        raise BundleError(str(directory), reason, _REMEDY)
    return _in_order_of(features, remembered)


def _width(estimator: BaseEstimator) -> int:
    try:
        return int(getattr(estimator, "n_features_in_", 0))
    except (TypeError, ValueError):
        return 0


def _unnamed(width: int, *, whole: bool = False) -> tuple[PlainFeature, ...]:
    return tuple(PlainFeature(f"feature_{place}", whole) for place in range(width))


def _of_tensor(directory: Path, schema: Schema) -> tuple[PlainFeature, ...]:
    (first, *more) = schema.inputs
    assert isinstance(first, TensorSpec), "the schema says so"
    shape, kind = first.shape, np.dtype(first.type).kind
    if not more and len(shape) == 2 and shape[1] > 0 and kind in "iufb":
        return _unnamed(int(shape[1]), whole=kind in "iub")
    reason = f"its signature takes {schema} where one tensor of numbers (-1, features) is expected"
    raise BundleError(str(directory), reason, _REMEDY)


def _of_columns(directory: Path, schema: Schema) -> tuple[PlainFeature, ...]:
    columns = [column for column in schema.inputs if isinstance(column, ColSpec)]
    names = [
        f"feature_{place}" if column.name is None else str(column.name)
        for place, column in enumerate(columns)
    ]
    for name, column in zip(names, columns, strict=True):
        if not (isinstance(column.type, DataType) and column.type in _WHOLE | _FRACTION):
            reason = f"the column {name} of its signature is {_kind(column.type)} where a number is expected"
            raise BundleError(str(directory), reason, _REMEDY)
    return tuple(
        PlainFeature(name, column.type in _WHOLE) for name, column in zip(names, columns, strict=True)
    )


def _kind(found: Any) -> str:  # noqa: ANN401 (MLflow's types of types)
    return str(found.name if isinstance(found, DataType) else found)


def _in_order_of(features: Sequence[PlainFeature], remembered: Sequence[str]) -> tuple[PlainFeature, ...]:
    known = {feature.name: feature for feature in features}
    if set(remembered) == known.keys():
        return tuple(known[name] for name in remembered)
    if remembered:  # the estimator insists on its own names
        return tuple(
            PlainFeature(name, feature.whole) for name, feature in zip(remembered, features, strict=True)
        )
    return tuple(features)
