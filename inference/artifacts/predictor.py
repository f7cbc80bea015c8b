"""A model in memory: rows of features in, outputs out, the same for every runtime."""

from inference.artifacts.bundle import Bundle
from inference.artifacts.outputs import Outputs, Predictor
from inference.artifacts.refusal import refusing_failures
from protos.inference.v1.manifest_pb2 import RUNTIME_ONNX

__all__ = ["Outputs", "Predictor", "load_predictor"]


def load_predictor(bundle: Bundle, *, allow_pickle: bool = False) -> Predictor:
    """Load the model of `bundle` into the runtime that its manifest names.

    Each runtime is imported only when it is needed: a server of compiled models never imports scikit-learn,
    and the process that fetches imports neither. `allow_pickle` lets a scikit-learn model stored as a pickle
    run the code that is in it. Raises `BundleError` when the model does not load or does not fit the
    manifest.
    """
    if bundle.manifest.runtime == RUNTIME_ONNX:
        with refusing_failures(bundle, "loading model.onnx"):
            from inference.artifacts.onnx_predictor import OnnxPredictor  # noqa: PLC0415 (see the docstring)

            return OnnxPredictor(bundle)
    with refusing_failures(bundle, f"loading {bundle.manifest.sklearn_file}"):
        from inference.artifacts.sklearn_predictor import load_sklearn  # noqa: PLC0415 (see the docstring)

        return load_sklearn(bundle, allow_pickle=allow_pickle)
