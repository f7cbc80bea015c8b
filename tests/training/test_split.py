"""How rows are held out: by class, at random, by group, by time; and the folds of cross-validation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.inference.v1.manifest_pb2 import FeatureType
from training.configuration.sections import SplitSection
from training.contracts.validated import ValidatedTable
from training.data.columns import Column
from training.errors import ContractError
from training.fitting.cross_validation import cross_validate
from training.fitting.fit import FittedModel
from training.fitting.split import fold_rows, kind_of, split_rows

Fit = Callable[..., FittedModel]


def table(rows: int = 60, **columns: Any) -> ValidatedTable:  # noqa: ANN401 (of any type)
    random = np.random.default_rng(rows)
    frame = pd.DataFrame({"a": random.random(rows), **columns})
    frame["y"] = np.where(np.arange(rows) % 3 == 0, "u", "v")
    column = Column("a", FeatureType.FEATURE_TYPE_FLOAT)
    return ValidatedTable("t", "t.csv", frame, "y", ("a",), (column,))


@settings(deadline=None)
@given(
    rows=st.integers(min_value=20, max_value=120),
    kind=st.sampled_from(["random", "stratified", "grouped", "time"]),
    seed=st.integers(min_value=0, max_value=2**31 - 1),
    test_ratio=st.floats(min_value=0.2, max_value=0.5),
)
def test_law_every_row_is_on_one_side(rows: int, kind: Any, seed: int, test_ratio: float) -> None:  # noqa: ANN401
    """Both sides together are the table, neither is empty, and the same seed gives the same sides."""
    data = table(rows, g=[f"g{row % 7}" for row in range(rows)], t=np.arange(rows) // 2)
    keys = {"grouped": {"group": "g"}, "time": {"time": "t"}}.get(kind, {})
    split = SplitSection(kind=kind, seed=seed, test_ratio=test_ratio, **keys)
    train, test = split_rows(data, split, classification=True)
    assert sorted([*train, *test]) == list(range(rows))
    assert len(train)
    assert len(test)
    assert [part.tolist() for part in split_rows(data, split, classification=True)] == [
        train.tolist(),
        test.tolist(),
    ]


def test_unset_kind_follows_the_task() -> None:
    """A classifier's classes keep their shares, a regressor's rows are drawn."""
    assert (kind_of(SplitSection(), True), kind_of(SplitSection(), False)) == ("stratified", "random")
    train, _ = split_rows(table(), SplitSection(), classification=True)
    assert (table().frame["y"].to_numpy()[train] == "u").sum() == 16


def test_groups_stay_together() -> None:
    """No group has rows on both sides, and rows without a group are one."""
    groups = [None if row % 10 == 9 else f"g{row % 10}" for row in range(60)]
    split = SplitSection(kind="grouped", group="g")
    train, test = split_rows(table(g=groups), split, classification=True)
    names = np.array([str(group) for group in groups])
    assert not set(names[train]) & set(names[test])


def test_the_latest_rows_are_held_out() -> None:
    """Whatever their order in the table; rows of one moment are not torn apart."""
    times = pd.to_datetime("2026-01-01") + pd.to_timedelta(np.arange(60)[::-1] // 5, unit="D")
    train, test = split_rows(table(t=times), SplitSection(kind="time", time="t"), classification=True)
    assert times[train].max() < times[test].min()
    assert len(test) == 15  # 12 asked for, and the three others of that day


@pytest.mark.parametrize(
    ("split", "columns", "sentence"),
    [
        ({"kind": "grouped", "group": "g"}, {"g": ["one"] * 60}, "the rows do not suffice"),
        ({"kind": "time", "time": "t"}, {"t": [1] * 60}, "0 rows are before the time 1"),
        ({"test_ratio": 0.001}, {}, r"test_ratio = 0\.001"),
    ],
)
def test_split_that_cannot_be_is_a_sentence(
    split: dict[str, Any], columns: dict[str, Any], sentence: str
) -> None:
    """One group, one moment, too few rows: what was asked and why it cannot be."""
    with pytest.raises(ContractError, match=sentence):
        split_rows(table(**columns), SplitSection(**split), classification=True)


def test_class_that_is_held_out_altogether_is_a_sentence() -> None:
    """A model cannot be measured on a class that it never saw; neither is one class enough to fit on."""
    data = table(t=np.arange(60))
    data.frame.loc[50:, "y"] = "late"
    with pytest.raises(ContractError, match='kind = "time" no row of the class late is left to fit on'):
        split_rows(data, SplitSection(kind="time", time="t"), classification=True)
    data.frame["y"] = ["only"] * 60
    with pytest.raises(ContractError, match="only rows of the class only are left"):
        split_rows(data, SplitSection(kind="time", time="t"), classification=True)


@pytest.mark.parametrize("kind", ["random", "stratified", "grouped", "time"])
def test_folds_never_touch_the_held_out_rows(kind: Any) -> None:  # noqa: ANN401 (a literal)
    """Each fold is measured on rows that it was not fitted on; groups and time hold inside, too."""
    data = table(g=[f"g{row % 12}" for row in range(60)], t=np.arange(60)[::-1])
    keys = {"grouped": {"group": "g"}, "time": {"time": "t"}}.get(kind, {})
    split = SplitSection(kind=kind, folds=4, **keys)
    train, test = split_rows(data, split, classification=True)
    folds = list(fold_rows(data, split, True, train))
    assert len(folds) == 4
    for inner, outer in folds:
        assert not set(inner) & set(outer)
        assert not (set(inner) | set(outer)) & set(test)
        if kind == "grouped":
            groups = data.frame["g"].to_numpy()
            assert not set(groups[inner]) & set(groups[outer])
        if kind == "time":
            assert data.frame["t"].to_numpy()[inner].max() < data.frame["t"].to_numpy()[outer].min()


def test_more_folds_than_rows_is_a_sentence() -> None:
    """Also for the smallest class, about which scikit-learn would only warn."""
    split = SplitSection(folds=20)
    train, _ = split_rows(table(), split, classification=True)
    with pytest.raises(ContractError, match=r"folds = 20: the smallest class has 16 of the rows"):
        list(fold_rows(table(), split, True, train))
    with pytest.raises(ContractError, match=r"folds = 1: "):
        list(fold_rows(table(), SplitSection(kind="random", folds=1), True, train))


def test_cross_validation_fills_the_metrics(fit: Fit) -> None:
    """Mean and deviation over the folds, one call a fold, the same for the same seed."""
    split = SplitSection(folds=3)
    steps: list[int] = []
    model = fit(estimator={"class": "sklearn.tree.DecisionTreeClassifier"})
    found = cross_validate(model, split, advance=lambda: steps.append(1))
    assert len(steps) == len(found.scores) == 3
    assert model.metrics.cross_validation_mean == pytest.approx(np.mean(found.scores))
    assert model.metrics.cross_validation_std == pytest.approx(np.std(found.scores, ddof=1))
    assert cross_validate(model, split) == found
