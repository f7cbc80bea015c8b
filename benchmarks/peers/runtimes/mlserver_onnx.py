"""A runtime for MLServer that runs ONNX Runtime, which MLServer has none of its own for."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri
from one_thread import open_model

__all__ = ["OnnxModel"]


class OnnxModel(MLModel):
    """Answers with the numbers of classes, as MLServer's own scikit-learn runtime does."""

    async def load(self) -> bool:
        """Load the model."""
        self._session = open_model(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict."""
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        (labels,) = self._session.run(["label"], {"input": rows})
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output("predict", labels)],
        )
