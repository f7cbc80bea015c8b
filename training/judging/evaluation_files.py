"""The evaluation as files: JSON for programs, figures for people. MLflow shows them beside the run."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.judging.calibration import Calibration
from training.judging.evaluation import Confusion, Evaluation, FeatureImportance, Residuals
from training.storage import storage_errors, write_atomically

__all__ = ["write_evaluation"]

#: More than these make a figure nobody reads; the JSON has them all.
_SHOWN_FEATURES: Final = 30
_NUMBERED_CLASSES: Final = 12
_DPI: Final = 120


def write_evaluation(directory: Path, evaluation: Evaluation, **more: Mapping[str, Any]) -> None:
    """Write `evaluation` into `directory`, and each of `more` as `NAME.json`. Raises `StorageError`."""
    parts: dict[str, Any] = dict(more)
    figures: dict[str, Figure] = {}
    if evaluation.classes:
        parts["per_class"] = [asdict(one) for one in evaluation.classes]
    if evaluation.confusion is not None:
        parts["confusion_matrix"] = asdict(evaluation.confusion)
        figures["confusion_matrix"] = _draw_confusion(evaluation.confusion)
    if evaluation.calibration is not None:
        parts["calibration"] = asdict(evaluation.calibration)
        figures["calibration"] = _draw_calibration(evaluation.calibration)
    if evaluation.residuals is not None:
        parts["residuals"] = asdict(evaluation.residuals)
        figures["residuals"] = _draw_residuals(evaluation.residuals)
    parts["feature_importance"] = [asdict(one) for one in evaluation.importance]
    figures["feature_importance"] = _draw_importance(evaluation.importance[:_SHOWN_FEATURES])
    for name, part in parts.items():
        write_atomically(directory / f"{name}.json", json.dumps(part, indent=1).encode() + b"\n")
    for name, figure in figures.items():
        with storage_errors(directory / f"{name}.png"):
            # Without a date and a version of the library in it, the same figure is the same file.
            FigureCanvasAgg(figure).print_figure(
                directory / f"{name}.png", dpi=_DPI, metadata={"Software": None}
            )


def _axes(title: str, width: float = 5.0, height: float = 4.5) -> tuple[Figure, Any]:
    # Not pyplot: it keeps figures for a window that is never opened.
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _draw_confusion(confusion: Confusion) -> Figure:
    figure, axes = _axes("Held-out rows by class")
    image = axes.imshow(confusion.counts, cmap="Blues")
    figure.colorbar(image, ax=axes, label="rows")
    axes.set(xlabel="predicted", ylabel="true")
    places = range(len(confusion.labels))
    if len(places) <= _NUMBERED_CLASSES:
        labels = [_plain(label) for label in confusion.labels]
        axes.set_xticks(places, labels, rotation=45, ha="right")
        axes.set_yticks(places, labels)
        middle = max(map(max, confusion.counts)) / 2
        for row in places:
            for column in places:
                count = confusion.counts[row][column]
                colour = "white" if count > middle else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def _draw_calibration(calibration: Calibration) -> Figure:
    title = f"Reliability: ECE {calibration.expected_error:.3f}, Brier {calibration.brier:.3f}"
    figure, axes = _axes(title)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="probabilities that mean what they say")
    confidence = [one.confidence for one in calibration.bins]
    axes.plot(confidence, [one.accuracy for one in calibration.bins], marker="o", label="this model")
    for one in calibration.bins:
        axes.annotate(
            f"{one.rows}", (one.confidence, one.accuracy), xytext=(4, -10), textcoords="offset points"
        )
    axes.set(xlabel="highest probability (mean of the bin)", ylabel="share of rows that are right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    return figure


def _draw_residuals(residuals: Residuals) -> Figure:
    figure, axes = _axes("Held-out rows")
    axes.scatter(residuals.truth, residuals.predicted, s=12, alpha=0.6)
    ends = [min(residuals.truth), max(residuals.truth)]
    axes.plot(ends, ends, color="grey", linestyle="--")
    axes.set(xlabel="true", ylabel="predicted")
    return figure


def _draw_importance(importance: tuple[FeatureImportance, ...]) -> Figure:
    figure, axes = _axes("Fall of the score when shuffled", height=1.5 + 0.3 * len(importance))
    shown = importance[::-1]
    names = [_plain(one.feature) for one in shown]
    axes.barh(range(len(shown)), [one.mean for one in shown], xerr=[one.std for one in shown])
    axes.set_yticks(range(len(shown)), names)
    return figure


def _plain(text: str) -> str:
    """Return `text` short, and without what matplotlib takes for mathematics or has no glyph for."""
    shown = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    return (shown if len(shown) <= 24 else f"{shown[:23]}~").replace("$", r"\$")
