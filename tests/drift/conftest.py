"""Iris as the reference, and prediction events as the inference server logs them."""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from drift.data.table import read_reference
from drift.rows import Reference, Rows

EventLine = Callable[..., bytes]
IrisEvents = Callable[..., list[bytes]]
IrisRows = Callable[..., Rows]

_FEATURES, _CODES = load_iris(return_X_y=True)
_LABELS: NDArray[np.str_] = np.array(["setosa", "versicolor", "virginica"])[_CODES]


@pytest.fixture(scope="session")
def reference_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Iris in the shape of a bundle's reference.csv: 150 rows."""
    path = tmp_path_factory.mktemp("bundle") / "reference.csv"
    lines = ["feature_0,feature_1,feature_2,feature_3,prediction,target"]
    lines += [",".join([*map(str, row), label, label]) for row, label in zip(_FEATURES, _LABELS, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def reference(reference_csv: Path) -> Reference:
    """The reference that the monitor makes of it."""
    return read_reference(reference_csv, 50_000)


@pytest.fixture(scope="session")
def event_line() -> EventLine:
    """A function that builds one log line with one event; keyword arguments replace fields of the event."""

    def build(
        features: Sequence[Sequence[object]] = ((5.1, 3.5, 1.4, 0.2),),
        predictions: Sequence[object] = ("setosa",),
        *,
        timestamp: str | None = None,
        **fields: object,
    ) -> bytes:
        event = {
            "event": "prediction",
            "event_id": uuid.uuid4().hex,
            "features": features,
            "predictions": predictions,
            "model": "iris",
            "version": "7",
            "track": "stable",
            **fields,
        }
        line = {
            "timestamp": timestamp or datetime.now(UTC).isoformat(),
            "level": "INFO",
            "logger": "drift-monitoring",
            "message": json.dumps(event),
        }
        return json.dumps(line).encode() + b"\n"

    return build


@pytest.fixture(scope="session")
def iris_rows() -> IrisRows:
    """A function that draws current rows from Iris, every feature shifted by `shift` of its deviations."""

    def draw(count: int, *, seed: int, shift: float = 0.0) -> Rows:
        chosen = np.random.default_rng(seed).integers(0, len(_FEATURES), count)
        return Rows(_FEATURES[chosen] + shift * _FEATURES.std(axis=0), _LABELS[chosen].astype(object))

    return draw


@pytest.fixture(scope="session")
def iris_events(event_line: EventLine, iris_rows: IrisRows) -> IrisEvents:
    """The same rows, each as one log line."""

    def draw(count: int, *, seed: int, shift: float = 0.0) -> list[bytes]:
        rows = iris_rows(count, seed=seed, shift=shift)
        pairs = zip(rows.features.tolist(), rows.predictions.tolist(), strict=True)
        return [event_line([features], [label]) for features, label in pairs]

    return draw
