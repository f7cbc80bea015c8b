"""KServe's Python server with one model: `kserve_server.py sklearn|onnx FILE`; further flags are KServe's own.

KServe's scikit-learn server is no package of a registry. It loads with joblib, takes its rows from
`get_predict_input`, and answers by `get_predict_response`; so does this.
"""

import sys
from typing import Any

from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class ServedModel(Model):
    """Answers with the numbers of classes."""

    def __init__(self, runtime: str, path: str) -> None:
        super().__init__("iris")
        self._predict = _sklearn(path) if runtime == "sklearn" else _onnx(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Predict."""
        del headers
        return get_predict_response(payload, self._predict(get_predict_input(payload)), self.name)


def _sklearn(path: str) -> Any:  # noqa: ANN401  # what the library gives
    import joblib  # noqa: PLC0415  # either library, never both

    return joblib.load(path).predict


def _onnx(path: str) -> Any:  # noqa: ANN401
    from one_thread import open_model  # noqa: PLC0415

    session = open_model(path)
    return lambda rows: session.run(["label"], {"input": rows})[0]


if __name__ == "__main__":
    ModelServer().start([ServedModel(*sys.argv[1:3])])
