"""Bundles of a model that takes texts, numbers and missing values, made as training makes them.

The stored model takes the table's own columns: the first step of its Pipeline, `encode`, turns texts into codes.
What is compiled, and what the server runs, begins after it.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import skops.io
from google.protobuf import json_format
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from protos.inference.v1 import manifest_pb2 as pb
from tests.inference.artifacts.bundle_kit import seal
from training.data.columns import Column, encode_rows, features_of

#: A category that may be missing and takes unknown texts for missing ones, one that is always there, a number that
#: may be missing, and a whole number.
COLUMNS: Final = (
    Column("plan", pb.FEATURE_TYPE_CATEGORY, True, ("basic", "plus", "zażółć"), True),
    Column("region", pb.FEATURE_TYPE_CATEGORY, False, ("north", "south", "1")),
    Column("age", pb.FEATURE_TYPE_FLOAT, nullable=True),
    Column("visits", pb.FEATURE_TYPE_INTEGER),
)
NAMES: Final = tuple(column.name for column in COLUMNS)
CLASSES: Final = ("left", "stayed")
#: Cells of four rows: nothing missing, a category missing, a number missing, both missing.
ROWS: Final = (
    ("basic", "north", 31.5, 14),
    (None, "south", 64.0, 0),
    ("zażółć", "1", None, 12),
    (None, "north", None, 7),
)


def mixed_manifest(**fields: object) -> pb.ModelManifest:
    """Return the manifest of the model without its files and golden rows."""
    return pb.ModelManifest(
        **{
            "schema_version": 1,
            "name": "churn",
            "task": pb.TASK_CLASSIFICATION,
            "features": features_of(COLUMNS),
            "classes": CLASSES,
            "runtime": pb.RUNTIME_ONNX,
            "sklearn_file": "model.skops",
            "parity": pb.Parity(passed=True, rows=200, bound=1e-5),
            **fields,
        }
    )


def mixed_frame(rows: int = 200) -> pd.DataFrame:
    """Return a table with the columns of the model."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "plan": random.choice(["basic", "plus", "zażółć"], rows).astype(object),
            "region": random.choice(["north", "south", "1"], rows).astype(object),
            "age": random.uniform(18, 90, rows).astype(np.float32),
            "visits": random.integers(0, 20, rows),
        }
    )
    frame.loc[random.random(rows) < 0.2, "plan"] = None
    frame.loc[random.random(rows) < 0.2, "age"] = np.nan
    return frame


def mixed_pipeline(encode: str = "encode") -> Pipeline:
    """Return the fitted model, which takes tables."""
    frame = mixed_frame()
    encoders = [
        (
            column.name,
            OrdinalEncoder(
                categories=[list(column.categories)],
                handle_unknown="use_encoded_value",
                unknown_value=np.nan,
                encoded_missing_value=np.nan,
                dtype=np.float32,
            )
            if column.is_category
            else "passthrough",
            [column.name],
        )
        for column in COLUMNS
    ]
    target = np.where((frame["plan"] == "basic") ^ (frame["visits"] > 9) ^ frame["age"].isna(), *CLASSES)
    model = Pipeline(
        [
            (encode, ColumnTransformer(encoders)),
            ("impute", SimpleImputer(strategy="constant", fill_value=-1.0)),
            ("classify", RandomForestClassifier(n_estimators=5, max_depth=5, random_state=0)),
        ]
    )
    return model.fit(frame, target)


def write_mixed_bundle(directory: Path, *, onnx: bool = True, encode: str = "encode") -> Path:
    """Write a bundle of the model, compiled or not; `encode` is the name of the first step."""
    directory.mkdir(parents=True)
    model = mixed_pipeline(encode)
    skops.io.dump(model, directory / "model.skops")
    (directory / "MLmodel").write_text("flavors: {}\n")
    metrics = pb.ModelMetrics(accuracy=0.9, train_rows=160, test_rows=40)
    (directory / "metrics.json").write_text(
        json_format.MessageToJson(metrics, preserving_proto_field_name=True)
    )
    served = model[1:]
    if onnx:
        compiled = to_onnx(
            served,
            initial_types=[("input", FloatTensorType([None, len(COLUMNS)]))],
            options={id(served): {"zipmap": False}},
            target_opset={"": 18, "ai.onnx.ml": 3},
        )
        (directory / "model.onnx").write_bytes(compiled.SerializeToString())
    manifest = mixed_manifest(
        runtime=pb.RUNTIME_ONNX if onnx else pb.RUNTIME_SKLEARN,
        parity=pb.Parity(passed=onnx, rows=200, bound=1e-5),
    )
    frame = pd.DataFrame(ROWS, columns=NAMES)
    for row, shares in zip(encode_rows(frame, COLUMNS), model.predict_proba(frame), strict=True):
        manifest.golden_rows.add(
            features=row.tolist(), class_index=int(shares.argmax()), probabilities=shares.tolist()
        )
    seal(directory, manifest)
    return directory
