"""Models that harm whoever runs them: each a sound bundle by its digests."""

from pathlib import Path

from onnx import TensorProto, helper

from inference.artifacts import read_bundle
from tests.inference.artifacts.bundle_kit import Kit, seal

__all__ = ["endless_graph", "huge_graph", "unknown_operator", "with_file"]

_FLOAT, _INT, _BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def with_file(kit: Kit, bundle: Path, name: str, content: bytes) -> Path:
    """Copy a bundle and put another file into it, with the digests that belong to it."""
    copy = kit.copy(bundle)
    manifest = read_bundle(copy).manifest
    (copy / name).write_bytes(content)
    seal(copy, manifest)
    return copy


def _graph(nodes: list[object], constants: list[object]) -> bytes:
    weights = helper.make_tensor("weights", _FLOAT, [4, 3], [0.1] * 12)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["product"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("input", _FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", _FLOAT, [None, 3])],
        [weights, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def huge_graph() -> bytes:
    """A graph of 300 bytes that needs 12 GiB: a constant of that size is made when it runs."""
    one = helper.make_tensor("one", _FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"], value=one),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["product", "sum"], ["probabilities"]),
    ]
    return _graph(nodes, [helper.make_tensor("shape", _INT, [2], [1 << 20, 3072])])


def endless_graph() -> bytes:
    """A graph whose loop never ends."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "step"], ["next_sum"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", _INT, []),
            helper.make_tensor_value_info("go", _BOOL, []),
            helper.make_tensor_value_info("sum", _FLOAT, [None, 3]),
        ],
        [
            helper.make_tensor_value_info("go_on", _BOOL, []),
            helper.make_tensor_value_info("next_sum", _FLOAT, [None, 3]),
        ],
        [helper.make_tensor("step", _FLOAT, [1], [1.0])],
    )
    nodes = [helper.make_node("Loop", ["", "true", "product"], ["probabilities"], body=body)]
    return _graph(nodes, [helper.make_tensor("true", _BOOL, [], [True])])


def unknown_operator() -> bytes:
    """A graph with an operator that no runtime has."""
    return _graph([helper.make_node("Nonsense", ["product"], ["probabilities"])], [])
