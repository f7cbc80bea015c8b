"""Trees with forged indices are refused before compiled code follows them."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from inference.artifacts.tree_check import check_trees

X, Y = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(max_leaf_nodes=8),
        RandomForestClassifier(4),
        ExtraTreesClassifier(4),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        AdaBoostClassifier(n_estimators=3),
        BaggingClassifier(max_features=2, n_estimators=4),
        VotingClassifier([("a", RandomForestClassifier(2)), ("b", DecisionTreeClassifier())]),
        StackingClassifier(
            [("a", HistGradientBoostingClassifier(max_iter=2))], RandomForestClassifier(2), cv=2
        ),
        make_pipeline(
            make_column_transformer((OneHotEncoder(), [0]), sparse_threshold=0),
            HistGradientBoostingClassifier(max_iter=2),
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_grown_trees(model: BaseEstimator) -> None:
    """Every tree that scikit-learn grew passes, wherever it stands in a model."""
    rows = X.round() if hasattr(model, "steps") or getattr(model, "categorical_features", None) else X
    assert check_trees(model.fit(rows, Y)) == ""


def _left(tree: DecisionTreeClassifier, value: int) -> None:
    tree.tree_.children_left[0] = value


@pytest.mark.parametrize(
    ("forge", "sentence"),
    [
        (lambda model: _left(model, 10_000), "does not stand behind it"),
        (lambda model: _left(model, 0), "does not stand behind it"),
        (lambda model: _left(model, -7), "does not stand behind it"),
        (lambda model: model.tree_.feature.__setitem__(0, 4), "outside the 4"),
        (lambda model: model.tree_.feature.__setitem__(0, -1), "outside the 4"),
        (lambda model: setattr(model, "n_features_in_", 1), "outside the 1"),
    ],
    ids=["far", "circle", "negative", "wide", "negative feature", "narrow owner"],
)
def test_forged_tree(forge: Callable[[DecisionTreeClassifier], object], sentence: str) -> None:
    """An index that leads outside, or round in a circle, is found."""
    model = DecisionTreeClassifier(random_state=0).fit(X, Y)
    forge(model)
    assert sentence in check_trees(make_pipeline(model))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("left", 4_000_000_000, "behind"),
        ("right", 0, "behind"),
        ("feature_idx", 99, "outside"),
        ("bitset_idx", 5, "categories"),
    ],
)
def test_forged_histogram_tree(field: str, value: int, sentence: str) -> None:
    """The same holds for the trees of histogram boosting, whose categories are an index too."""
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    nodes = model._predictors[0][0].nodes.copy()
    nodes[field][0] = value
    if field == "bitset_idx":
        nodes["is_categorical"][0] = 1
    model._predictors[0][0].nodes = nodes
    assert sentence in check_trees(model)


def test_forged_boosting() -> None:
    """Gradient boosting whose trees expect wider rows than itself is found."""
    model = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    wide = DecisionTreeClassifier().fit(np.tile(X, 3), Y)
    model.estimators_[1, 0] = wide
    assert "stand in an estimator for another number" in check_trees(model)
