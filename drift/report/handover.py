"""What the child is given and what it gives back, as files in a directory of its own.

Numbers are in a NumPy archive without pickles, and texts in JSON: the texts are other people's, of any length and
kind, and the archive would store each of them as wide as the longest.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.rows import Predictions, Reference, Rows, Schema
from drift.statistics import Methods

__all__ = [
    "CrossCheck",
    "ReportResult",
    "Request",
    "read_request",
    "read_result",
    "write_request",
    "write_result",
]

_NUMBERS: Final = "rows.npz"
_TEXTS: Final = "request.json"
_PAGE: Final = "report.html"
_ANSWER: Final = "answer.json"


@dataclass(frozen=True, slots=True)
class Request:
    """Rows to draw, at most a few thousand a side, and the methods by column."""

    reference: Reference
    current: Rows
    methods: Methods


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """How far our statistics are from Evidently's on the very rows that were drawn.

    `largest_difference` is relative to Evidently's value, or to the threshold where that is larger: an exact copy
    stays below 1e-9. `column` has it, and `columns` were compared; without any the difference is 0.
    """

    largest_difference: float
    column: str | None
    columns: int


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The page as HTML, its cross-check, and how many features it leaves out: those with the least severity."""

    html: bytes
    cross_check: CrossCheck
    left_out: int


def write_request(directory: Path, request: Request) -> None:
    """Write what the child shall draw."""
    arrays: dict[str, NDArray[Any]] = {}
    texts: dict[str, Sequence[str]] = {}
    for side, rows in (("reference", request.reference.rows), ("current", request.current)):
        arrays[f"{side}.features"] = rows.features
        for name, column in (("predictions", rows.predictions), ("targets", rows.targets)):
            if column is not None:
                arrays[f"{side}.{name}"], texts[f"{side}.{name}"] = _pack(column)
    schema = request.reference.schema
    content = {
        "feature_names": schema.feature_names,
        "kind": schema.kind,
        "categories": schema.categories,
        "total_rows": request.reference.total_rows,
        "methods": request.methods.text,
        "texts": texts,
    }
    np.savez(directory / _NUMBERS, **arrays)  # type: ignore[arg-type]
    (directory / _TEXTS).write_text(json.dumps(content))


def read_request(directory: Path) -> Request:
    """Read what `write_request` wrote."""
    content = json.loads((directory / _TEXTS).read_text())
    schema = Schema(
        tuple(content["feature_names"]),
        content["kind"],
        tuple(tuple(texts) for texts in content["categories"]),
    )
    with np.load(directory / _NUMBERS, allow_pickle=False) as arrays:
        columns = {
            name: _unpack(arrays[name], content["texts"].get(name, ()), schema.kind) for name in arrays.files
        }

    def rows(side: str) -> Rows:
        return Rows(
            columns[f"{side}.features"],
            columns[f"{side}.predictions"],
            targets=columns.get(f"{side}.targets"),
        )

    reference = Reference(schema, rows("reference"), content["total_rows"])
    return Request(reference, rows("current"), Methods.parse(content["methods"]))


def write_result(directory: Path, result: ReportResult) -> None:
    """Write what the child drew; the answer comes last, so that where there is one there is a page."""
    (directory / _PAGE).write_bytes(result.html)
    answer = {"cross_check": asdict(result.cross_check), "left_out": result.left_out}
    (directory / _ANSWER).write_text(json.dumps(answer))


def read_result(directory: Path) -> ReportResult:
    """Read what `write_result` wrote. Raises `OSError` or `ValueError` when there is no whole answer."""
    answer = json.loads((directory / _ANSWER).read_text())
    try:
        check, left_out = CrossCheck(**answer["cross_check"]), int(answer["left_out"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{_ANSWER} has another form: {error!r}") from None
    return ReportResult((directory / _PAGE).read_bytes(), check, left_out)


def _pack(column: Predictions) -> tuple[NDArray[Any], list[str]]:
    """Return numbers as they are; of labels their places among the distinct ones, -1 for None, and these."""
    if column.dtype != object:
        return column, []
    places: dict[str, int] = {}
    codes = [-1 if text is None else places.setdefault(text, len(places)) for text in column.tolist()]
    return np.array(codes, dtype=np.int32), list(places)


def _unpack(column: NDArray[Any], texts: Sequence[str], kind: str) -> NDArray[Any]:
    if kind == "number" or column.ndim > 1:
        return column
    labels: NDArray[Any] = np.array([*texts, None], dtype=object)
    found: NDArray[Any] = labels[column]
    return found
