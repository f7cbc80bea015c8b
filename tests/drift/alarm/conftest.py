"""Rows of populations that are known, as references and as windows."""

from collections.abc import Callable

import numpy as np
import pytest

from drift.rows import PredictionKind, Reference, Rows, Schema

AsReference = Callable[..., Reference]
NormalRows = Callable[..., Rows]


@pytest.fixture(scope="session")
def normal_rows() -> NormalRows:
    """A function that draws correlated normal features; the label depends on the first one."""

    def draw(random: np.random.Generator, count: int, columns: int = 4) -> Rows:
        features = random.normal(size=(count, columns)) + random.normal(size=(count, 1))
        return Rows(features, np.where(features[:, 0] > 0, "yes", "no").astype(object))

    return draw


@pytest.fixture(scope="session")
def as_reference() -> AsReference:
    """A function that makes a reference of rows."""

    def build(
        rows: Rows, kind: PredictionKind = "label", categories: tuple[tuple[str, ...], ...] = ()
    ) -> Reference:
        names = tuple(f"feature_{column}" for column in range(rows.features.shape[1]))
        return Reference(Schema(names, kind, categories), rows, len(rows))

    return build
