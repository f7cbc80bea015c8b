"""The files between the service and the child: what goes in comes out."""

from pathlib import Path

import numpy as np
import pytest

from drift.report.handover import (
    CrossCheck,
    ReportResult,
    Request,
    read_request,
    read_result,
    write_request,
    write_result,
)
from drift.rows import Reference, Rows, Schema
from drift.statistics import Methods


def test_a_request_round_trips(tmp_path: Path) -> None:
    """Numbers with all that is missing, texts of any kind, labels that are not known, and methods."""
    schema = Schema(("feature_0", "feature_1"), "label", (("a\x00b", "\ud800"), ()))
    features = np.array([[0.0, np.nan], [1.0, np.inf], [np.nan, -2.5]])
    labels = np.array(["", "x" * 100_000, "</script>"], dtype=object)
    targets = np.array([None, "é", None], dtype=object)
    rows = Rows(features, labels, targets=targets)
    request = Request(
        Reference(schema, rows, 77), Rows(features[:1], labels[:1]), Methods.parse("prediction=psi:0.3")
    )
    write_request(tmp_path, request)
    found = read_request(tmp_path)
    assert (found.reference.schema, found.reference.total_rows, found.methods) == (
        schema,
        77,
        request.methods,
    )
    np.testing.assert_array_equal(found.reference.rows.features, features)
    assert found.reference.rows.predictions.tolist() == labels.tolist()
    assert found.reference.rows.targets is not None
    assert found.reference.rows.targets.tolist() == targets.tolist()
    assert (len(found.current), found.current.targets) == (1, None)


def test_numbers_round_trip(tmp_path: Path) -> None:
    """Regression predictions stay numbers."""
    rows = Rows(np.zeros((2, 1)), np.array([1.5, -2.0]), targets=np.array([np.nan, 3.0]))
    write_request(tmp_path, Request(Reference(Schema(("feature_0",), "number"), rows, 2), rows, Methods()))
    found = read_request(tmp_path).current
    np.testing.assert_array_equal(found.predictions, rows.predictions)
    np.testing.assert_array_equal(found.targets, rows.targets)


def test_a_result_round_trips(tmp_path: Path) -> None:
    """The page byte for byte."""
    result = ReportResult(b"<html>\xff</html>", CrossCheck(1e-15, "feature_3", 5), 2)
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


@pytest.mark.parametrize(
    "answer", ["", "{", "[]", "{}", '{"cross_check": {"x": 1}}', '{"cross_check": 1, "left_out": 1}']
)
def test_garbage_is_no_result(tmp_path: Path, answer: str) -> None:
    """An answer that is not whole is refused as such."""
    (tmp_path / "report.html").write_bytes(b"")
    (tmp_path / "answer.json").write_text(answer)
    with pytest.raises(ValueError, match=r"."):
        read_result(tmp_path)
