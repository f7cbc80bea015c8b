"""Run a compiled model by ONNX Runtime."""

from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inference.artifacts.bundle import Bundle
from inference.artifacts.manifest import ONNX_FILE
from inference.artifacts.outputs import Outputs
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import TASK_CLASSIFICATION

__all__ = ["OnnxPredictor"]

_NUMBERS: Final = ("tensor(float)", "tensor(double)")
_REMEDY: Final = "compile it again with `python -m training.train`"
#: Errors only: warnings about a graph would appear on standard error among the JSON lines.
_LOG_SEVERITY: Final = 3


class OnnxPredictor:
    """A `model.onnx` in an inference session; its `run` may be called from many threads.

    One thread a session: for small tables a second one gains nothing, and spinning ones take the processor
    from the server's own threads.
    """

    runtime: Final = "onnx"

    def __init__(self, bundle: Bundle) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_SEVERITY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # From bytes, so that a graph cannot name files beside it.
        content = (bundle.path / ONNX_FILE).read_bytes()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._classifies = bundle.manifest.task == TASK_CLASSIFICATION
        self._input = self._choose_input(bundle)
        self._output = self._choose_output(bundle)

    def predict(self, features: NDArray[np.float32]) -> Outputs:
        """Predict for `features` (rows, features)."""
        (output,) = self._session.run([self._output], {self._input: features})
        if self._classifies:
            probabilities = np.asarray(output, dtype=np.float32)
            return Outputs(class_index=probabilities.argmax(axis=1), probabilities=probabilities)
        return Outputs(values=np.asarray(output, dtype=np.float64).reshape(len(features)))

    def _choose_input(self, bundle: Bundle) -> str:
        inputs = self._session.get_inputs()
        width = len(bundle.manifest.features)
        if len(inputs) == 1 and inputs[0].type == "tensor(float)" and _has_width(inputs[0].shape, width):
            return str(inputs[0].name)
        found = [(node.name, node.type, node.shape) for node in inputs]
        reason = f"{ONNX_FILE} has the inputs {found} and one of float32 (rows, {width}) is expected"
        raise BundleError(str(bundle.path), reason, _REMEDY)

    def _choose_output(self, bundle: Bundle) -> str:
        outputs = self._session.get_outputs()
        width = len(bundle.manifest.classes) if self._classifies else 1
        # skl2onnx gives a classifier's labels first; they are text or integers, or a vector.
        fitting = [node for node in outputs if node.type in _NUMBERS and _has_width(node.shape, width)]
        if not self._classifies:
            fitting = fitting or [node for node in outputs if node.type in _NUMBERS and len(node.shape) == 1]
        if len(fitting) == 1:
            return str(fitting[0].name)
        wanted = f"(rows, {width})" + (" of probabilities (`zipmap` off)" if self._classifies else "")
        found = [(node.name, node.type, node.shape) for node in outputs]
        raise BundleError(str(bundle.path), f"{ONNX_FILE} has the outputs {found}, not one {wanted}", _REMEDY)


def _has_width(shape: list[int | str | None], width: int) -> bool:
    # A dimension that the graph leaves open is a name or None.
    return len(shape) == 2 and (shape[1] == width or not isinstance(shape[1], int))
