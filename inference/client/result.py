"""What an answer holds, and how it becomes a table."""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.client.status import Trailers
from protos.inference.v1 import inference_pb2 as pb

__all__ = ["PredictResult", "frame_of", "result_of"]


@dataclass(frozen=True, slots=True)
class PredictResult:
    """An answer, with what the trailing metadata says of it.

    `labels` has one class label a row, empty for regression; `values` has one value a row, empty for
    classification; `probabilities` has one tuple a row, in class order. `classes` names the classes in that
    order: set for arrays and frames, empty for rows sent one by one, whose answer does not tell.
    """

    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    model_name: str
    model_version: str
    model_digest: str
    event_id: str
    track: str
    request_id: str
    classes: tuple[str, ...] = ()
    #: Index of the DataFrame that was asked, None for other rows.
    index: Any = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels) or len(self.values)

    def to_frame(self) -> Any:  # noqa: ANN401  # a DataFrame; this package must not import pandas
        """Return a pandas DataFrame with the index of the one that was asked.

        Regression: `value`. Classification: `label`, and a column a class with its probabilities, named after the
        class, or `probability_0`, `probability_1`, … where the answer does not tell the classes.
        """
        pandas = importlib.import_module("pandas")
        if self.values:
            return pandas.DataFrame({"value": self.values}, index=self.index)
        width = len(self.probabilities[0]) if self.probabilities else 0
        names = self.classes if len(self.classes) == width else [f"probability_{n}" for n in range(width)]
        shares = list(self.probabilities) or [()] * len(self)
        index = pandas.RangeIndex(len(self)) if self.index is None else self.index
        frame = pandas.DataFrame(shares, columns=list(names), index=index)
        frame.insert(0, "label", list(self.labels), allow_duplicates=True)  # a class may be called "label"
        return frame


def frame_of(results: Iterable[PredictResult]) -> Any:  # noqa: ANN401  # a DataFrame, as above
    """Return one DataFrame of all `results`, in their order, with who answered in `model_version`.

    During a rollout or a swap batches of one table may be answered by different versions.
    """
    pandas = importlib.import_module("pandas")
    frames = [result.to_frame().assign(model_version=result.model_version) for result in results]
    return pandas.concat(frames) if frames else pandas.DataFrame()


def result_of(response: pb.PredictResponse, trailers: Trailers, index: Any = None) -> PredictResult:  # noqa: ANN401  # of a DataFrame
    """Return what `response` and its trailing metadata hold."""
    by_columns = response.HasField("columns")
    labels, shares, values = _columns(response.columns) if by_columns else _rows(response.predictions)
    return PredictResult(
        labels=labels,
        probabilities=shares,
        values=values,
        classes=tuple(response.columns.classes),
        model_name=response.model_name,
        model_version=response.model_version,
        model_digest=response.model_digest,
        event_id=response.event_id,
        track=str(trailers.get("x-deployment-track", "")),
        request_id=str(trailers.get("x-request-id", "")),
        index=index,
    )


_Outputs = tuple[tuple[str, ...], tuple[tuple[float, ...], ...], tuple[float, ...]]


def _rows(predictions: Sequence[pb.Prediction]) -> _Outputs:
    if any(prediction.HasField("value") for prediction in predictions):
        return (), (), tuple(prediction.value for prediction in predictions)
    labels = tuple(prediction.label for prediction in predictions)
    return labels, tuple(tuple(prediction.probabilities) for prediction in predictions), ()


def _columns(columns: pb.PredictionColumns) -> _Outputs:
    labels = tuple(columns.classes[index] for index in columns.class_index)
    # One iterator as often as there are classes, so that each tuple takes that many numbers.
    shares = tuple(zip(*[iter(columns.probabilities)] * len(columns.classes), strict=True))
    return labels, shares, tuple(columns.values)
