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
from sklearn.pipeline import Pipeline

from training.fit import FittedModel

__all__ = ["INPUT_NAME", "CompileError", "OnnxModel", "compile_to_onnx"]

INPUT_NAME: Final = "input"

#: Operator sets that skl2onnx 1.20 and ONNX Runtime 1.23 and later both know well.
_TARGET_OPSET: Final = {"": 18, "ai.onnx.ml": 3}

#: Converters are third-party code of every age; these are what they raise for a model they cannot convert.
_CONVERTER_ERRORS: Final = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
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
    """Convert `model`. Raises `CompileError` when skl2onnx cannot."""
    estimator = _with_class_indexes(model.estimator) if model.plan.is_classification else model.estimator
    shape = [(INPUT_NAME, FloatTensorType([None, len(model.table.features)]))]
    options = {id(estimator): {"zipmap": False}} if model.plan.is_classification else None
    try:
        converted = to_onnx(estimator, initial_types=shape, options=options, target_opset=_TARGET_OPSET)
    except _CONVERTER_ERRORS as error:
        raise CompileError(error) from error
    return _in_fixed_order(converted)


def _with_class_indexes(estimator: BaseEstimator) -> BaseEstimator:
    """Return a shallow copy whose labels are the class indexes, so that the label output is an integer.

    What was learned is shared with the original, which keeps its labels.
    """
    twin = copy.copy(estimator)
    if isinstance(twin, Pipeline):
        name, last = twin.steps[-1]
        twin.steps = [*twin.steps[:-1], (name, _with_class_indexes(last))]
        return twin
    try:
        twin.classes_ = np.arange(len(estimator.classes_))
    except AttributeError as error:  # a computed property, as in a search over parameters
        raise CompileError(error) from error
    return twin


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
