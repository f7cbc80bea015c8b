"""The champion as an opponent: its bundle out of the registry, and what it says to rows of another table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from protos.inference.v1.manifest_pb2 import FeatureType, ModelManifest, ModelMetrics, Runtime
from training.bundling.bundle import METRICS_FILE, ONNX_FILE, Bundle
from training.bundling.compile import OnnxModel
from training.bundling.manifest import metrics_from_json
from training.bundling.reference import REFERENCE_FILE
from training.bundling.stored_model import load_stored
from training.data.columns import columns_of, encode_rows
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part

__all__ = ["Champion", "read_champion"]


@dataclass(frozen=True)
class Champion:
    """A champion's bundle; `version` is its number in the registry."""

    version: int
    manifest: ModelManifest
    metrics: ModelMetrics
    reference: pd.DataFrame
    directory: Path

    def answers(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return its label (text) or value for each row of `frame`, by the runtime that serves it."""
        matrix = encode_rows(frame, columns_of(self.manifest.features))
        if self.manifest.runtime == Runtime.RUNTIME_ONNX:
            output = OnnxModel((self.directory / ONNX_FILE).read_bytes()).run(matrix)[-1]
        else:
            model = matrix_part(load_stored(self.directory / self.manifest.sklearn_file))
            output = (model.predict_proba if self.manifest.classes else model.predict)(matrix)
        if self.manifest.classes:
            labels: NDArray[Any] = np.asarray(self.manifest.classes)
            return np.asarray(labels[np.asarray(output).argmax(axis=1)])
        return np.asarray(output, dtype=np.float64).reshape(len(frame))

    def takes(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell for each row whether it would answer it, and not refuse a value that it does not know."""
        columns = columns_of(self.manifest.features)
        matrix = encode_rows(frame, columns)
        taken = np.ones(len(frame), dtype=bool)
        for values, column in zip(matrix.T, columns, strict=True):
            missing = np.isnan(values)
            unknown = missing & frame[column.name].notna().to_numpy()
            taken &= ~missing | (column.nullable & (~unknown | column.unknown_as_missing))
        return taken

    def may_know(self, model: FittedModel, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for each of `rows` of the table of `model` whether the champion may have been fitted on it."""
        if self._has_same_split(model):
            return np.zeros(len(rows), dtype=bool)  # the same rows were held out
        names = [feature.name for feature in self.manifest.features]
        frame = model.table.frame.iloc[rows]
        known = set(_keys(self.reference))
        return np.array([key in known for key in _keys(frame[[*names, model.table.target]])], dtype=bool)

    def _has_same_split(self, model: FittedModel) -> bool:
        """Whether table, kind of split, seed and sizes are the same, so that the same rows were held out."""
        found = self.manifest.lineage
        mine = (model.table.sha256, model.split, model.plan.seed, model.metrics.train_rows)
        return mine == (found.data_sha256, found.split, found.seed, self.metrics.train_rows)


def read_champion(bundle: Bundle, version: int) -> Champion:
    """Read what a comparison needs of a verified bundle."""
    names = {f"feature_{place}": feature.type for place, feature in enumerate(bundle.manifest.features)}
    texts = [name for name, kind in names.items() if kind == FeatureType.FEATURE_TYPE_CATEGORY]
    kinds = dict.fromkeys([*texts, *(["target"] if bundle.manifest.classes else [])], "str")
    reference = pd.read_csv(
        bundle.directory / REFERENCE_FILE,
        dtype=kinds,
        keep_default_na=False,
        na_values=[""],
        float_precision="round_trip",
    )
    metrics = metrics_from_json((bundle.directory / METRICS_FILE).read_bytes(), str(bundle.directory))
    reference = reference[[*names, "target"]]
    return Champion(version, bundle.manifest, metrics, reference, bundle.directory)


def _keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return each row as texts, the same for the same values."""
    columns = []
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            columns.append([f"{number:.17g}" for number in values.to_numpy(np.float64, na_value=np.nan)])
        else:
            columns.append(
                ["" if missing else str(text) for text, missing in zip(values, values.isna(), strict=True)]
            )
    return list(zip(*columns, strict=True))
