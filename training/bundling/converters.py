"""Ways to ONNX that skl2onnx 1.20 does not bring along: histogram boosting, XGBoost and LightGBM.

All of them compare float32 features with float64 thresholds. For a float32 x, `x <= t` is the same as
`x <= f` for the largest float32 f that is not above t, so thresholds are rounded down, never to the nearest.
"""

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

__all__ = ["float32_floor", "prepare_conversion"]

_CLASSIFIER_OPTIONS: Final = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "raw_scores": [True, False],
}
#: Where onnxmltools, of the extra `boosting`, has the converters of a package.
_CONVERTERS: Final = {
    "xgboost": ("onnxmltools.convert.xgboost.operator_converters.XGBoost", "convert_xgboost"),
    "lightgbm": ("onnxmltools.convert.lightgbm.operator_converters.LightGbm", "convert_lightgbm"),
}

#: LightGBM takes numbers up to this one for zero (kZeroThreshold in include/LightGBM/meta.h), so that this
#: number itself, with a minus, is not at most the threshold of the same value.
_LIGHTGBM_ZERO: Final = float(np.float32(1e-35))
_HISTOGRAM: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def prepare_conversion(estimator: BaseEstimator) -> BaseEstimator:
    """Return what skl2onnx can convert in place of a single `estimator`, its converter registered."""
    package = type(estimator).__module__.partition(".")[0]
    if isinstance(estimator, _HISTOGRAM):
        _register_histogram(type(estimator))
        return _with_float32_thresholds(estimator)
    if package in _CONVERTERS:
        module, name = _CONVERTERS[package]
        convert = getattr(importlib.import_module(module), name)
        classifies = hasattr(estimator, "predict_proba")
        _register(type(estimator), _lightgbm(convert) if package == "lightgbm" else convert, classifies)
    return estimator


def float32_floor(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest float32 that is not above each value."""
    nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


def _register(kind: type[Any], convert: Callable[..., None], classifies: bool) -> None:
    shapes = (
        calculate_linear_classifier_output_shapes if classifies else calculate_linear_regressor_output_shapes
    )
    options = _CLASSIFIER_OPTIONS if classifies else {"split": None}
    update_registered_converter(kind, f"Coalmine{kind.__name__}", shapes, convert, options=options)


def _register_histogram(kind: type[Any]) -> None:
    """Put plain numbers where skl2onnx's own converter leaves NumPy's, which onnx 1.23 refuses in attributes."""
    name = sklearn_operator_name_map[kind]
    if name.startswith("Coalmine"):
        return
    convert = get_converter(name)

    def convert_plainly(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401 (no types there)
        convert(scope, operator, _PlainNumbers(container))

    options = _CLASSIFIER_OPTIONS if kind is HistGradientBoostingClassifier else {}
    shapes = get_shape_calculator(name)
    update_registered_converter(kind, f"Coalmine{kind.__name__}", shapes, convert_plainly, options=options)


class _PlainNumbers:
    """A container of nodes that takes NumPy scalars in attributes."""

    def __init__(self, container: Any) -> None:  # noqa: ANN401 (no types there)
        self._container = container

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the container has)
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:  # noqa: ANN401 (passed on)
        plain = {name: _plain(value) for name, value in attributes.items()}
        self._container.add_node(*arguments, **plain)


def _plain(value: Any) -> Any:  # noqa: ANN401 (an attribute of any type)
    if isinstance(value, list):
        return [int(one) if isinstance(one, (np.integer, np.bool_, bool)) else one for one in value]
    return value


def _with_float32_thresholds(estimator: BaseEstimator) -> BaseEstimator:
    twin = copy.copy(estimator)
    twin._predictors = copy.deepcopy(estimator._predictors)
    for predictor in (one for iteration in twin._predictors for one in iteration):
        predictor.nodes["num_threshold"] = float32_floor(predictor.nodes["num_threshold"])
    return twin


def _lightgbm(convert: Callable[..., None]) -> Callable[..., None]:
    def convert_rounded(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401 (no types there)
        model = operator.raw_operator
        booster = model._Booster
        model._Booster = _RoundedBooster(booster)
        try:
            convert(scope, operator, container)
        finally:
            model._Booster = booster

    return convert_rounded


class _RoundedBooster:
    """A LightGBM booster whose description has thresholds of float32."""

    #: The converter then asks for `dump_model` and not the C library behind it.
    is_mock: Final = True

    def __init__(self, booster: Any) -> None:  # noqa: ANN401 (a package that may be missing)
        self._booster = booster

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the booster has)
        return getattr(self._booster, name)

    def dump_model(self, *arguments: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401 (passed on)
        described: dict[str, Any] = self._booster.dump_model(*arguments, **options)
        _round([tree["tree_structure"] for tree in described["tree_info"]])
        return described


def _round(nodes: Sequence[dict[str, Any]]) -> None:
    remaining = list(nodes)
    while remaining:
        node = remaining.pop()
        if isinstance(node.get("threshold"), float):
            found = np.array(node["threshold"])
            found = np.nextafter(found, -1) if found == -_LIGHTGBM_ZERO else found
            node["threshold"] = float(float32_floor(found))
        remaining += [node[side] for side in ("left_child", "right_child") if side in node]
