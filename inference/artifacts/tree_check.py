"""Bound the indices of decision trees before compiled code follows them.

scikit-learn walks a fitted tree without looking at its indices, so a forged model file could make it read
outside its arrays or walk in a circle for ever (https://github.com/scikit-learn/scikit-learn/pull/34558).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_trees"]


_TREE: Final = "sklearn.tree._tree.Tree"
_HISTOGRAM_TREE: Final = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


def check_trees(model: object) -> str:
    """Return what is wrong with the first broken tree inside `model`, or nothing.

    In a tree that scikit-learn grew, every child stands behind its parent (so each walk ends), inside the
    arrays, and splits on a feature of the estimator that owns it (which compares rows with that number).
    """
    for owner, part in _walk(model):
        kind = f"{type(part).__module__}.{type(part).__name__}"
        width = int(getattr(owner, "n_features_in_", 0))
        problem = ""
        if kind == _TREE:
            problem = _check_tree(part, width)
        elif kind == _HISTOGRAM_TREE:
            problem = _check_histogram_tree(part, width)
        elif type(part).__module__ == "sklearn.ensemble._gb":
            problem = _check_boosting(part)
        if problem:
            return problem
    return ""


def _check_tree(tree: Any, features: int) -> str:  # noqa: ANN401 (a compiled class without types)
    inner = tree.children_left != -1  # a leaf has -1; the walk looks at the left child only
    return _check_nodes(inner, tree.children_left, tree.children_right, tree.feature, features)


def _check_histogram_tree(tree: Any, features: int) -> str:  # noqa: ANN401 (a compiled class without types)
    nodes = tree.nodes
    inner = nodes["is_leaf"] == 0
    categorical = inner & (nodes["is_categorical"] != 0)
    bitsets = min(len(tree.binned_left_cat_bitsets), len(tree.raw_left_cat_bitsets))
    if (nodes["bitset_idx"][categorical] >= bitsets).any():
        return "a node names a set of categories that does not exist"
    left, right, feature = (nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
    return _check_nodes(inner, left, right, feature, features)


def _check_boosting(model: Any) -> str:  # noqa: ANN401 (any estimator)
    # Gradient boosting compares rows with its own width only, not with that of its trees.
    widths = {int(tree.n_features_in_) for tree in np.ravel(getattr(model, "estimators_", []))}
    if widths - {int(getattr(model, "n_features_in_", 0))}:
        return f"trees for {sorted(widths)} features stand in an estimator for another number"
    return ""


def _check_nodes(
    inner: NDArray[np.bool_],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    feature: NDArray[np.int64],
    features: int,
) -> str:
    if not len(inner):
        return "it has no node"
    place = np.arange(len(inner))[inner]
    for children in (left[inner], right[inner]):
        if ((children <= place) | (children >= len(inner))).any():
            return "the child of a node does not stand behind it inside the tree"
    if ((feature[inner] < 0) | (feature[inner] >= features)).any():
        return f"a node splits on a feature outside the {features} that there are"
    return ""


def _walk(root: object) -> Iterator[tuple[object, object]]:
    """Give every object that `root` holds, itself included, with the nearest estimator that owns it."""
    seen = set[tuple[int, int]]()
    waiting: list[tuple[object, object]] = [(root, root)]
    while waiting:
        owner, part = waiting.pop()
        if (id(owner), id(part)) in seen or isinstance(part, type):
            continue
        seen.add((id(owner), id(part)))
        yield owner, part
        inside = part if hasattr(part, "n_features_in_") else owner
        waiting.extend((inside, held) for held in _held(part))


def _held(part: object) -> Iterable[object]:
    if isinstance(part, dict):
        return part.values()
    if isinstance(part, list | tuple | set):
        return part
    if isinstance(part, np.ndarray):
        return list(part.flat) if part.dtype == object else ()
    return list(getattr(part, "__dict__", {}).values())
