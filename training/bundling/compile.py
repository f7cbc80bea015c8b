"""From a fitted estimator to ONNX: one float32 input `input`, and outputs that speak in class indexes.

A classifier gives `label` (int64, the class index) and `probabilities` (float32, rows x classes); a regressor
gives one float32 output, rows x 1. The bytes depend on the model alone.
"""

import copy
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline

from training.bundling.converters import prepare_conversion
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part

__all__ = ["INPUT_NAME", "CompileError", "OnnxModel", "compile_to_onnx"]

INPUT_NAME: Final = "input"

#: Operator sets that skl2onnx 1.20 and ONNX Runtime 1.23 and later both know well.
_TARGET_OPSET: Final = {"": 18, "ai.onnx.ml": 3}

#: Converters are third-party code of every age; these are what they raise for a model they cannot convert.
_CONVERTER_ERRORS: Final = (
    *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ImportError),
)
_RUNTIME_ERRORS: Final = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.NotImplemented,
    states.RuntimeException,
)
_REASON_LENGTH: Final = 300

_T = TypeVar("_T")


class CompileError(Exception):
    """This estimator has no ONNX form; the message is one line. Never the end of training."""

    def __init__(self, error: Exception) -> None:
        text = " ".join(str(error).split()) or type(error).__name__
        super().__init__(text[:_REASON_LENGTH])


class OnnxModel:
    """A compiled model, run by one thread of ONNX Runtime."""

    def __init__(self, content: bytes) -> None:
        """Load `content`. Raises `CompileError` when ONNX Runtime refuses it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = _guarded(
            lambda: onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        )

    def run(self, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the outputs for `rows` (rows x features): label and probabilities, or the value."""
        outputs: list[NDArray[Any]] = _guarded(lambda: self._session.run(None, {INPUT_NAME: rows}))
        return outputs


def compile_to_onnx(model: FittedModel) -> bytes:
    """Convert the part of `model` that takes the matrix. Raises `CompileError` when skl2onnx cannot."""
    shape = [(INPUT_NAME, FloatTensorType([None, len(model.columns)]))]
    try:
        estimator = _convertible(matrix_part(model.estimator), model.plan.is_classification)
        options = {id(estimator): {"zipmap": False}} if model.plan.is_classification else None
        converted = to_onnx(estimator, initial_types=shape, options=options, target_opset=_TARGET_OPSET)
    except _CONVERTER_ERRORS as error:
        raise CompileError(error) from error
    return _in_fixed_order(converted)


def _convertible(estimator: BaseEstimator, classifies: bool) -> BaseEstimator:
    """Return a shallow copy that skl2onnx can convert, whose labels, if it has any, are the class indexes.

    What was learned is shared with the original, which keeps its labels.
    """
    if isinstance(estimator, VotingClassifier) and len(estimator.estimators_) == 1:
        estimator = estimator.estimators_[0]  # a vote of one: its member knows class indexes and no labels
    if isinstance(estimator, Pipeline):
        twin = copy.copy(estimator)
        name, last = twin.steps[-1]
        twin.steps = [*twin.steps[:-1], (name, _convertible(last, classifies))]
        return twin
    twin = copy.copy(prepare_conversion(estimator))
    if isinstance(twin, VotingClassifier):
        twin.flatten_transform = False  # which skl2onnx asks for, and which is about `transform` alone
    if classifies and not _has_class_indexes(twin):
        try:
            twin.classes_ = np.arange(len(estimator.classes_))
        except AttributeError:  # a computed property, as of a search over parameters, and of LightGBM
            _set_behind_property(twin)
    return twin


def _has_class_indexes(estimator: BaseEstimator) -> bool:
    return list(estimator.classes_) == list(range(len(estimator.classes_)))


def _set_behind_property(estimator: BaseEstimator) -> None:
    if not hasattr(estimator, "_classes"):
        raise TypeError(f"the labels of a {type(estimator).__name__} cannot be replaced by class indexes")
    estimator._classes = np.arange(len(estimator._classes))


def _in_fixed_order(converted: onnx.ModelProto) -> bytes:
    """Serialise with everything that skl2onnx leaves in the order of a set in sorted order."""
    opsets = sorted(converted.opset_import, key=lambda opset: str(opset.domain))
    del converted.opset_import[:]
    converted.opset_import.extend(opsets)
    for node in converted.graph.node:
        attributes = sorted(node.attribute, key=lambda attribute: str(attribute.name))
        del node.attribute[:]
        node.attribute.extend(attributes)
    content: bytes = converted.SerializeToString(deterministic=True)
    return content


def _guarded(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except _RUNTIME_ERRORS as error:
        raise CompileError(error) from error
