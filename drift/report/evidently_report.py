"""Evidently behind one door: nothing else in Coalmine imports it.

Importing it takes seconds and 275 MiB, hence only in `load_evidently`, which the service calls in the
background once its port is open. Evidently chooses method and threshold by the reference (0.7.23: p-values up
to 1000 rows, distances above), so each statistic travels with its method, threshold and severity.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import EvidentlyMissingError
from drift.rows import Reference, Rows
from drift.statistics.column import NO_DATA, ColumnDrift, PredictionDrift

__all__ = ["DriftReport", "load_evidently", "run_report"]

#: Evidently's own default: the dataset drifted when at least half of its features did.
DRIFT_SHARE: Final = 0.5
#: Floor of a p-value in a severity, so that p = 0 gives a number that JSON and Prometheus can hold.
_SMALLEST_P_VALUE: Final = 1e-12
_PREDICTION: Final = "prediction"
#: What the page calls a text that the reference does not have.
_OTHER: Final = "(not in the reference)"
#: Evidently 0.7.23 writes labels into a script of its page as they are, so that one with `</script>` would end it.
#: This noncharacter, which no text has, goes in for `<`, and JSON's escape for `<` comes out.
_HELD_BACK: Final = "\ufdd0"
_HELD_BACK_JSON: Final = r"\ufdd0"
_LESS_THAN: Final = r"\u003c"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One report: features in model order, and the page as HTML."""

    features: tuple[ColumnDrift, ...]
    prediction: PredictionDrift
    dataset_drift: bool
    drift_share: float
    html: bytes


def load_evidently() -> None:
    """Import Evidently; later calls are free. Raises `EvidentlyMissingError`."""
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently reads it at import
    try:
        with _quiet():
            import evidently.metrics  # noqa: PLC0415 - seconds and 275 MiB
            import evidently.presets  # noqa: F401, PLC0415
    except ImportError as error:
        raise EvidentlyMissingError(str(error)) from error


def run_report(reference: Reference, current: Rows) -> DriftReport:
    """Compare `current` with `reference` by Evidently's default methods."""
    load_evidently()
    names = reference.schema.feature_names
    usable = [
        name
        for column, name in enumerate(names)
        if np.isfinite(reference.rows.features[:, column]).any()
        and np.isfinite(current.features[:, column]).any()
    ]
    with _quiet():
        snapshot = _run(reference, current, usable)
        html = snapshot.get_html_str(as_iframe=False).replace(_HELD_BACK_JSON, _LESS_THAN)
        html = html.replace(_HELD_BACK, _LESS_THAN)
        metrics = snapshot.dict()["metrics"]
    share = next(
        (float(metric["value"]["share"]) for metric in metrics if _type(metric) == "DriftedColumnsCount"), 0.0
    )
    columns = [_column(metric) for metric in metrics if _type(metric) == "ValueDrift"]
    *features, prediction, psi = columns
    by_name = {column.name: column for column in features}
    return DriftReport(
        features=tuple(
            by_name.get(name) or ColumnDrift(name, NO_DATA, None, None, False, None) for name in names
        ),
        prediction=_with_psi(prediction, psi),
        dataset_drift=bool(usable) and share >= DRIFT_SHARE,
        drift_share=share,
        html=html.encode(),
    )


def _run(reference: Reference, current: Rows, usable: list[str]) -> Any:  # noqa: ANN401 - Evidently ships no types
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415
    from evidently.metrics import ValueDrift  # noqa: PLC0415
    from evidently.presets import DataDriftPreset  # noqa: PLC0415

    number = reference.schema.kind == "number"
    texts = {reference.schema.feature_names[place] for place in reference.schema.category_places}
    # Always explicit: inferred types differ from dataset to dataset.
    definition = DataDefinition(
        numerical_columns=[name for name in usable if name not in texts] + ([_PREDICTION] if number else []),
        categorical_columns=[name for name in usable if name in texts] + ([] if number else [_PREDICTION]),
    )

    def dataset(rows: Rows) -> Any:  # noqa: ANN401
        return Dataset.from_pandas(_frame(reference, rows, usable), data_definition=definition)

    preset = [DataDriftPreset(columns=usable, drift_share=DRIFT_SHARE)] if usable else []
    report = Report([*preset, ValueDrift(column=_PREDICTION), ValueDrift(column=_PREDICTION, method="psi")])
    return report.run(dataset(current), dataset(reference.rows))  # current first


def _frame(reference: Reference, rows: Rows, usable: list[str]) -> Any:  # noqa: ANN401
    import pandas as pd  # noqa: PLC0415

    # Evidently's parts disagree about infinity; all of them leave missing values out.
    finite = np.where(np.isfinite(rows.features), rows.features, np.nan)
    frame = pd.DataFrame(finite, columns=list(reference.schema.feature_names))[usable]
    for place in reference.schema.category_places:
        name = reference.schema.feature_names[place]
        if name in usable:
            frame[name] = _texts_of(finite[:, place], reference.schema.categories[place])
    frame[_PREDICTION] = rows.predictions
    if reference.schema.kind == "label":
        frame[_PREDICTION] = frame[_PREDICTION].str.replace("<", _HELD_BACK, regex=False)
    return frame


def _texts_of(codes: NDArray[np.float64], categories: Sequence[str]) -> NDArray[Any]:
    """Return the texts of `codes`, None for what is missing."""
    shown = [text.replace("<", _HELD_BACK) for text in (*categories, _OTHER)]
    texts = np.array([*shown, None], dtype=object)
    return texts[np.where(np.isnan(codes), len(shown), codes).astype(np.intp)]


def _type(metric: dict[str, Any]) -> str:
    return str(metric["config"]["type"]).rpartition(":")[2]


def _column(metric: dict[str, Any]) -> ColumnDrift:
    config = metric["config"]
    method, threshold = str(config["method"]), float(config["threshold"])
    statistic = float(metric["value"])
    if "p_value" in method:
        if np.isnan(statistic):  # chi-square of a single category (evidently #1929)
            statistic = 1.0
        severity, drifted = threshold / max(statistic, _SMALLEST_P_VALUE), statistic < threshold
    else:
        if np.isnan(statistic):
            statistic = 0.0
        severity, drifted = statistic / threshold, statistic >= threshold
    return ColumnDrift(config["column"], method, statistic, threshold, drifted, severity)


def _with_psi(prediction: ColumnDrift, psi: ColumnDrift) -> PredictionDrift:
    assert psi.statistic is not None
    return PredictionDrift(
        prediction.name,
        prediction.method,
        prediction.statistic,
        prediction.threshold,
        prediction.drifted,
        prediction.severity,
        psi.statistic,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    # Deprecations inside Evidently and its libraries, and divisions by the spread of constant columns. The
    # filters are those of the process; only the one evaluation thread comes here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
