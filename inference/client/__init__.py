"""Ask a prediction service, from threads (`PredictionClient`) or from asyncio (`AsyncPredictionClient`).

A call goes through these modules: `rows` and `tensor` make the request of whatever table it is given (`batches`
cuts large ones), `call` gives it headers and one deadline, `channel` is the connection, `retry` decides which
failures are tried again, `status` and `errors` say what a failure means, `result` is the answer.

Importing this package imports neither numpy nor pandas; arrays and frames are used when the caller has them.
"""

from inference.client.async_prediction_client import AsyncPredictionClient
from inference.client.channel import ChannelOptions, TlsFiles
from inference.client.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    OverloadError,
    PredictionError,
    ServerDefectError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from inference.client.prediction_client import PredictionClient
from inference.client.result import PredictResult, frame_of
from inference.client.retry import RetryPolicy
from inference.client.rows import Rows

__all__ = [
    "AsyncPredictionClient",
    "ChannelOptions",
    "DeadlineExceededError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadError",
    "PredictResult",
    "PredictionClient",
    "PredictionError",
    "RetryPolicy",
    "Rows",
    "ServerDefectError",
    "TlsFiles",
    "UnauthenticatedError",
    "UnavailableError",
    "Violation",
    "frame_of",
]
