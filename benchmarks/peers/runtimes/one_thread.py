"""ONNX Runtime as our own server has it: one thread, which does not spin."""

import onnxruntime

__all__ = ["open_model"]


def open_model(path: str) -> onnxruntime.InferenceSession:
    """Open the model at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
