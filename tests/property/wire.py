"""Strategies for bytes on the wire: protobuf by hand, so that it can be wrong in every way, and JSON."""

import json
import struct
from typing import Any, Final

from google.protobuf import struct_pb2
from hypothesis import strategies as st

from protos.inference.v1 import inference_pb2 as pb
from protos.oip import open_inference_pb2 as oip

__all__ = [
    "any_bytes",
    "infer_bodies",
    "infer_requests",
    "json_bodies",
    "mutated",
    "predict_requests",
    "varint",
    "wire_messages",
]

#: As deep as protobuf lets messages nest, and then some (its limit is 100).
_DEEP: Final = 150
_FEATURES: Final = ("sepal_length", "sepal_width", "petal_length", "petal_width")

any_bytes = st.binary(max_size=400)


def varint(number: int) -> bytes:
    """Encode `number` as protobuf does; wider than 64 bits gives more than the ten bytes that may be."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _nested(number: int, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = varint(number << 3 | 2) + varint(len(data)) + data
    return data


def _groups(number: int, depth: int) -> bytes:
    return varint(number << 3 | 3) * depth


def _length_delimited(content: bytes, lie: int) -> bytes:
    return varint(max(0, len(content) + lie)) + content


_numbers = st.integers(0, 1 << 72) | st.integers(0, 300)
_doubles = st.floats(width=64) | st.integers(0, 8).map(float)
_packed = st.lists(_doubles, max_size=8).map(lambda values: struct.pack(f"<{len(values)}d", *values))


def _field(number: int, kind: int, content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return content.map(lambda data: varint(number << 3 | kind) + data)


def _fields(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Fields of any number and wire type, whose lengths may lie."""
    content = inner | _packed | st.binary(max_size=20)
    delimited = st.builds(_length_delimited, content, st.sampled_from([0, 0, 0, 0, 1, -1, 1 << 31, 1 << 62]))
    number = st.integers(1, 12) | st.sampled_from([15, 16, 19000, (1 << 29) - 1])
    return number.flatmap(
        lambda n: (
            _field(n, 0, _numbers.map(varint))
            | _field(n, 1, st.binary(min_size=8, max_size=8))
            | _field(n, 2, delimited)
            | _field(n, 5, st.binary(min_size=4, max_size=4))
            | st.sampled_from([_nested(n, _DEEP), _groups(n, _DEEP), varint(n << 3 | 4), varint(n << 3 | 7)])
        )
    )


#: Messages field by field, some of them sound, most of them not.
wire_messages = st.recursive(
    st.just(b""), lambda inner: st.lists(_fields(inner), max_size=6).map(b"".join), max_leaves=12
)


def mutated(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Sound bytes, with some overwritten, cut out, doubled or cut off."""

    @st.composite
    def mutate(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(messages))
        for _ in range(draw(st.integers(0, 4))):
            place = draw(st.integers(0, len(data)))
            length = draw(st.integers(0, 8))
            new = draw(st.binary(max_size=8) | st.just(bytes(data[place : place + length]) * 2))
            data[place : place + length] = new
        return bytes(data)

    return mutate()


_rows = st.lists(st.lists(_doubles, min_size=3, max_size=5), max_size=5)
#: What the models of the tests know, and what they do not.
_texts = st.sampled_from(["a", "b", "1", "é", ""]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=5
)
_cell = (
    st.builds(lambda text: struct_pb2.Value(string_value=text), _texts)
    | st.builds(lambda number: struct_pb2.Value(number_value=number), _doubles)
    | st.just(struct_pb2.Value(null_value=struct_pb2.NULL_VALUE))
    | st.sampled_from(
        [
            struct_pb2.Value(),
            struct_pb2.Value(bool_value=True),
            struct_pb2.Value(list_value=struct_pb2.ListValue()),
            struct_pb2.Value(struct_value=struct_pb2.Struct()),
        ]
    )
)
_good_cells = st.tuples(
    st.sampled_from(["a", "zzz"]).map(lambda text: struct_pb2.Value(string_value=text)),
    st.sampled_from(["é", ""]).map(lambda text: struct_pb2.Value(string_value=text)),
    st.just(struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)) | st.just(struct_pb2.Value(number_value=0.5)),
    st.just(struct_pb2.Value(number_value=3)),
).map(list)
_cell_rows = (_good_cells | st.lists(_cell, min_size=3, max_size=5)).map(
    lambda cells: pb.Row(cells=struct_pb2.ListValue(values=cells))
)
_names = (
    st.just([]) | st.permutations(_FEATURES) | st.lists(st.sampled_from(_FEATURES) | st.text(), max_size=6)
)
_counts = st.integers(-1, 5) | st.sampled_from([2**31 - 1, -(2**31), 65536, 65537])


@st.composite
def _tensors(draw: st.DrawFn) -> pb.RowTensor:
    numbers = draw(st.lists(_doubles, max_size=20))
    tensor = pb.RowTensor(row_count=draw(_counts), column_count=draw(_counts))
    if draw(st.booleans()):
        tensor.row_count, tensor.column_count = len(numbers) // 4, 4
        numbers = numbers[: len(numbers) // 4 * 4]
    if draw(st.booleans()):
        tensor.values.extend(numbers)
    if draw(st.booleans()):
        singles = draw(st.lists(st.floats(width=32), min_size=len(numbers), max_size=len(numbers)))
        tensor.float32_values = struct.pack(f"<{len(singles)}f", *singles) + draw(
            st.sampled_from([b"", b"\0"])
        )
    return tensor


@st.composite
def predict_requests(draw: st.DrawFn) -> bytes:
    """Messages of the right type, whose content may be anything."""
    request = pb.PredictRequest(
        model_name=draw(st.sampled_from(["", "", "iris"]) | st.text()),
        model_version=draw(st.sampled_from(["", "", "local"]) | st.text()),
        feature_names=[name.encode("utf-8", "replace").decode() for name in draw(_names)],
    )
    if draw(st.booleans()):
        request.rows.extend(pb.Row(values=row) for row in draw(_rows))
    if draw(st.booleans()):
        request.rows.extend(draw(st.lists(_cell_rows, max_size=4)))
        if request.rows and draw(st.integers(0, 5)) == 0:
            request.rows[-1].values.append(1.0)
    if draw(st.booleans()):
        request.tensor.CopyFrom(draw(_tensors()))
    return request.SerializeToString()


_DATATYPES: Final = (
    *("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
    *("FP16", "BF16", "FP32", "FP64", "BYTES"),
)
_CONTENTS: Final = {
    "bool_contents": st.booleans(),
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": st.integers(-(2**63), 2**63 - 1),
    "uint_contents": st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": _texts.map(str.encode) | st.binary(max_size=12),
}
_sizes = st.integers(0, 5) | st.sampled_from([-1, 2**31, 2**62, 2**63 - 1, -(2**63)])


@st.composite
def _inputs(draw: st.DrawFn) -> oip.ModelInferRequest.InferInputTensor:
    shape = draw(st.lists(_sizes, max_size=3) | st.tuples(st.integers(1, 4), st.just(4)).map(list))
    tensor = oip.ModelInferRequest.InferInputTensor(
        name=draw(st.sampled_from(("input", *_FEATURES)) | st.text(max_size=5)),
        datatype=draw(st.sampled_from(_DATATYPES) | st.text(max_size=5)),
        shape=shape,
    )
    count = 1
    for size in shape:
        count *= max(0, size)
    for field in draw(st.lists(st.sampled_from(sorted(_CONTENTS)), max_size=2)):
        length = min(count, 20)
        getattr(tensor.contents, field).extend(
            draw(st.lists(_CONTENTS[field], min_size=length, max_size=length))
        )
    return tensor


@st.composite
def infer_requests(draw: st.DrawFn) -> bytes:
    """ModelInfer messages of the right type, whose content may be anything."""
    request = oip.ModelInferRequest(
        model_name=draw(st.sampled_from(["iris", "iris", ""]) | st.text(max_size=5))
    )
    request.inputs.extend(draw(st.lists(_inputs(), max_size=4)))
    if draw(st.booleans()):
        request.raw_input_contents.extend(
            draw(st.binary(max_size=4) | st.sampled_from([4, 16, 32, 64]).map(bytes)) for _ in request.inputs
        )
    for name in draw(st.lists(st.sampled_from(["label", "probabilities"]) | st.text(max_size=5), max_size=3)):
        request.outputs.add(name=name)
    return request.SerializeToString()


_json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)
_json_numbers = _texts | st.none() | st.floats() | st.integers(-9, 9) | st.integers() | _json_values
_json_rows = st.lists(st.lists(_json_numbers, min_size=3, max_size=5), max_size=4) | st.lists(
    st.dictionaries(
        st.sampled_from((*_FEATURES, "values", "cells", "")) | st.text(max_size=4), _json_numbers, max_size=5
    )
    | st.fixed_dictionaries({"values": st.lists(_json_numbers, min_size=4, max_size=4)})
    | st.fixed_dictionaries({"cells": st.lists(_json_numbers, min_size=4, max_size=4)})
    | st.fixed_dictionaries(dict.fromkeys(_FEATURES, _json_numbers)),
    max_size=4,
)
_json_requests = st.fixed_dictionaries(
    {"rows": _json_rows | _json_values},
    optional={
        "feature_names": _names | _json_values,
        "featureNames": _names,
        "model_name": st.just("iris") | _json_values,
        "modelVersion": st.just("local") | _json_values,
        "rows[0]": _json_values,
    },
)
#: JSON of the right form and of any form, as Python writes it: nan and lone surrogates included.
json_bodies = (_json_requests | _json_values).map(lambda value: json.dumps(value).encode())
_json_inputs = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(("input", *_FEATURES)) | _json_values,
            "datatype": st.sampled_from(_DATATYPES) | _json_values,
            "shape": st.lists(_sizes, max_size=3) | st.just([1, 4]) | st.just([1]) | _json_values,
            "data": st.lists(_json_numbers, max_size=8) | st.just([1, 2, 3, 4]) | _json_values,
            "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 64) | _json_values}),
        },
    ),
    max_size=4,
)
#: Bodies of the Open Inference Protocol, of the right form and of wrong ones.
infer_bodies = st.fixed_dictionaries(
    {"inputs": _json_inputs | _json_values},
    optional={
        "id": _json_values,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["label", "probabilities"]) | _json_values}),
            max_size=3,
        )
        | _json_values,
        "parameters": st.fixed_dictionaries({"binary_data_output": _json_values}) | _json_values,
    },
).map(lambda value: json.dumps(value).encode())
