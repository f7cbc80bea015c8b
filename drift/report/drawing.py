"""Evidently behind one door, in the child process: nothing else in Coalmine imports it.

Importing it takes seconds and 275 MiB, drawing a page of 100 features some ten seconds more.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.report.plan import Plan
from drift.rows import Predictions
from drift.statistics.kernel import DRIFT_SHARE
from drift.statistics.prepared import PREDICTION, Column

__all__ = ["Drawn", "draw"]

#: Evidently 0.7.23 writes labels into a script of its page as they are, so that one with `</script>` would end it.
#: This noncharacter, which no text has, goes in for `<`, and JSON's escape for `<` comes out.
_HELD_BACK: Final = "\ufdd0"
_HELD_BACK_JSON: Final = r"\ufdd0"
_LESS_THAN: Final = r"\u003c"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The page, and what Evidently says of each column; `psi` is that of the predictions."""

    html: bytes
    values: Mapping[str, float]
    psi: float | None


def draw(plan: Plan) -> Drawn:
    """Let Evidently compare the rows of the plan and draw its page. Raises whatever Evidently raises."""
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently reads it at import
    with _quiet():
        snapshot = _run(plan)
        html = snapshot.get_html_str(as_iframe=False).replace(_HELD_BACK_JSON, _LESS_THAN)
        html = html.replace(_HELD_BACK, _LESS_THAN)
        metrics = [metric for metric in snapshot.dict()["metrics"] if _type(metric) == "ValueDrift"]
    # In the order in which they were asked for: the index of the predictions comes after their own statistic.
    values: dict[str, float] = {}
    psi = None
    for metric in metrics:
        column, value = metric["config"]["column"], float(metric["value"])
        if column in values:
            psi = value
        values.setdefault(column, value)
    return Drawn(html.encode(), values, psi)


def _run(plan: Plan) -> Any:  # noqa: ANN401 - Evidently ships no types
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415
    from evidently.metrics import ValueDrift  # noqa: PLC0415

    # Always explicit: inferred types differ from dataset to dataset.
    definition = DataDefinition(
        numerical_columns=[column.name for column in plan.columns if column.kind == "numerical"],
        categorical_columns=[column.name for column in plan.columns if column.kind == "categorical"],
    )
    asked = [_preset(plan)] if plan.features else []
    for column in plan.others:
        told = plan.told[column.name]
        asked.append(ValueDrift(column=column.name, method=told.method, threshold=told.threshold))
        if column.name == PREDICTION:
            asked.append(ValueDrift(column=PREDICTION, method="psi"))
    current, reference = (
        Dataset.from_pandas(_frame(plan.columns, side), data_definition=definition)
        for side in (plan.current, plan.reference)
    )
    return Report(asked).run(current, reference)  # current first


def _preset(plan: Plan) -> Any:  # noqa: ANN401
    from evidently.presets import DataDriftPreset  # noqa: PLC0415

    told = {column.name: plan.told[column.name] for column in plan.features}
    return DataDriftPreset(
        columns=list(told),
        drift_share=DRIFT_SHARE,
        per_column_method={name: one.method for name, one in told.items() if one.method is not None},
        per_column_threshold={name: one.threshold for name, one in told.items() if one.threshold is not None},
    )


def _frame(columns: list[Column], values: Mapping[str, Predictions]) -> Any:  # noqa: ANN401
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame({column.name: _shown(column, values[column.name]) for column in columns})


def _shown(column: Column, values: Predictions) -> NDArray[Any]:
    if column.kind == "numerical":
        # Evidently's parts disagree about infinity; all of them leave missing values out.
        return np.where(np.isfinite(values), values, np.nan)
    texts = _texts_of(values, column.texts) if column.texts else values.tolist()
    return np.array([None if text is None else _harmless(text) for text in texts], dtype=object)


def _harmless(text: str) -> str:
    # Half a surrogate pair, which JSON can carry, has no encoding.
    return text.replace("<", _HELD_BACK).encode("utf-8", "backslashreplace").decode()


def _texts_of(codes: NDArray[np.float64], texts: Any) -> list[str | None]:  # noqa: ANN401
    last = len(texts) - 1
    return [texts[min(max(int(code), 0), last)] if np.isfinite(code) else None for code in codes.tolist()]


def _type(metric: dict[str, Any]) -> str:
    return str(metric["config"]["type"]).rpartition(":")[2]


@contextmanager
def _quiet() -> Iterator[None]:
    # Deprecations inside Evidently and its libraries, and divisions by the spread of constant columns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
