"""Sound inputs, from which tests and fuzz targets make unsound ones."""

from typing import Final

import numpy as np
from google.protobuf import json_format

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1 import manifest_pb2
from protos.oip import open_inference_pb2 as oip

__all__ = ["INFER", "MANIFEST", "PREDICT", "PREDICT_JSON"]

_FEATURES: Final = ("sepal_length", "sepal_width", "petal_length", "petal_width")
_ROW: Final = (5.1, 3.5, 1.4, 0.2)
_FLOATS: Final = np.array([_ROW, _ROW], "<f4").tobytes()


def _manifest() -> bytes:
    manifest = manifest_pb2.ModelManifest(
        schema_version=1,
        name="iris",
        task=manifest_pb2.TASK_CLASSIFICATION,
        classes=["a", "b"],
        runtime=manifest_pb2.RUNTIME_ONNX,
        sklearn_file="model.skops",
        parity=manifest_pb2.Parity(passed=True, rows=2, max_difference=1e-7, bound=1e-5),
        lineage=manifest_pb2.Lineage(git_commit="c", seed=7, library_versions={"python": "3.11"}),
    )
    manifest.lineage.trained_at.FromSeconds(1_700_000_000)
    for name in _FEATURES:
        manifest.features.add(name=name, type=manifest_pb2.FEATURE_TYPE_FLOAT)
    manifest.files.add(path="model.onnx", sha256="0" * 64, size_bytes=10)
    manifest.golden_rows.add(features=_ROW, class_index=1, probabilities=[0.25, 0.75])
    return json_format.MessageToJson(manifest, preserving_proto_field_name=True).encode()


def _cells(*cells: float | str | None) -> pb.Row:
    row = pb.Row()
    row.cells.extend(cells)
    return row


def _by_feature() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="iris")
    for name, texts in zip(_FEATURES, ([b"a", b"", b"x"], [b"\xc3\xa9", b"", b"a"]), strict=False):
        request.inputs.add(name=name, datatype="BYTES", shape=[3]).contents.bytes_contents.extend(texts)
    for name in _FEATURES[2:]:
        request.inputs.add(name=name, datatype="FP32", shape=[3, 1]).contents.fp32_contents.extend([1, 2, 3])
    return request


def _infer(**contents: object) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="iris", id="1")
    tensor = request.inputs.add(name="input", datatype="FP32", shape=[2, 4])
    if contents:
        tensor.datatype = str(contents.pop("datatype"))
        tensor.contents.CopyFrom(oip.InferTensorContents(**contents))  # type: ignore[arg-type]
    else:
        request.raw_input_contents.append(_FLOATS)
    return request


def _columns() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="iris")
    for name in _FEATURES:
        tensor = request.inputs.add(name=name, datatype="INT64", shape=[1])
        tensor.contents.int64_contents.append(3)
    request.outputs.add(name="label")
    return request


PREDICT: Final = tuple(
    message.SerializeToString()
    for message in (
        pb.PredictRequest(rows=[pb.Row(values=_ROW)]),
        pb.PredictRequest(
            rows=[pb.Row(values=_ROW)] * 3, feature_names=reversed(_FEATURES), model_name="iris"
        ),
        pb.PredictRequest(tensor=pb.RowTensor(row_count=2, column_count=4, values=_ROW * 2)),
        pb.PredictRequest(tensor=pb.RowTensor(row_count=2, column_count=4, float32_values=_FLOATS)),
        pb.PredictRequest(rows=[pb.Row(values=[1, 2, 3])], feature_names=["b", "a", "c"]),
        pb.PredictRequest(rows=[_cells("a", "é", None, 3.0), _cells(None, "", 0.5, 0.0)]),
    )
)
INFER: Final = tuple(
    message.SerializeToString()
    for message in (
        _infer(),
        _infer(datatype="FP64", fp64_contents=_ROW * 2),
        _infer(datatype="INT8", int_contents=[1] * 8),
        _infer(datatype="BYTES", bytes_contents=[b"a"] * 8),
        _columns(),
        _by_feature(),
    )
)
PREDICT_JSON: Final = (
    b'{"rows": [[5.1, 3.5, 1.4, 0.2]]}',
    b'{"rows": [{"values": [1, 2, 3]}], "feature_names": ["b", "a", "c"], "model_name": "iris"}',
    b'{"rows": [{"a": 1, "b": 2, "c": 3.5}], "modelVersion": "7"}',
    b'{"rows": [{"x": null}, {"x": "1"}]}',
    '{"rows": [{"cells": ["a", "é", null, 3]}, {"cells": [null, "", 0.5, 0]}]}'.encode(),
    b'{"rows": [["b", "a", 1.5, 2]]}',
)
MANIFEST: Final = _manifest()
