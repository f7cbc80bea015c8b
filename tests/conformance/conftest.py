"""What the tests of other people's clients share. They run by `nox -s conformance` alone, where those are installed."""

# ruff: noqa: ANN401 - other people's clients come without types

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

collect_ignore_glob = [] if "CONFORMANCE_TARGET" in os.environ else ["test_*.py"]

#: Labels are equal; probabilities are float32 here and float64 in scikit-learn.
TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def target() -> dict[str, Any]:
    """Addresses, rows, and what scikit-learn predicts for them."""
    return dict(json.loads(Path(os.environ["CONFORMANCE_TARGET"]).read_text()))


@pytest.fixture(scope="session")
def rows(target: dict[str, Any]) -> np.ndarray:
    """The rows as an array."""
    return np.array(target["rows"], dtype=np.float32)


@pytest.fixture
def check(target: dict[str, Any]) -> Callable[..., None]:
    """Compare labels and probabilities with those of scikit-learn."""

    def compare(labels: Any, probabilities: Any = None) -> None:
        found = [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
        assert found == target["labels"]
        if probabilities is not None:
            expected = [share for shares in target["probabilities"] for share in shares]
            assert list(probabilities.ravel()) == pytest.approx(expected, abs=TOLERANCE)

    return compare
