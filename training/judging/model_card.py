"""`model_card.md`: what a person should know before trusting the model, in the bundle itself.

The headings are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019), as far as a pipeline
can know what stands below them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from protos.inference.v1.manifest_pb2 import FeatureType, ModelManifest, Runtime
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part
from training.judging.evaluation import Evaluation

__all__ = ["MODEL_CARD_FILE", "write_card"]

MODEL_CARD_FILE: Final = "model_card.md"

_TYPES: Final = {
    FeatureType.FEATURE_TYPE_FLOAT: "number",
    FeatureType.FEATURE_TYPE_INTEGER: "whole number",
    FeatureType.FEATURE_TYPE_CATEGORY: "category",
}
_FIGURES: Final = ("accuracy", "f1_macro", "log_loss", "r2", "mae", "rmse")
_SHOWN_CATEGORIES: Final = 12
_SHOWN_FEATURES: Final = 50
_SHOWN_CLASSES: Final = 50
_BINARY: Final = 2
_TEXT_LENGTH: Final = 60
_STEP_LENGTH: Final = 300
#: With fewer held-out rows, the interval of an accuracy of 0.9 is wider than 0.08.
_FEW_ROWS: Final = 200


def write_card(model: FittedModel, manifest: ModelManifest, evaluation: Evaluation) -> str:
    """Return the card; `manifest` is that of the bundle, as far as it is known before the card exists."""
    sections = (
        _head(model, manifest),
        _data(model, manifest),
        _figures(model),
        _classes(evaluation),
        _calibration(evaluation),
        _features(model, evaluation),
        _preprocessing(model),
        _limits(model, manifest),
        _serving(model, manifest),
    )
    return "\n".join(line for section in sections for line in section) + "\n"


def _head(model: FittedModel, manifest: ModelManifest) -> Iterator[str]:
    kind = (
        f"classifier of {len(manifest.classes)} classes"
        if manifest.classes
        else "regressor (one number a row)"
    )
    yield from (f"# {_text(manifest.name)}", "", f"A {kind}: `{manifest.lineage.estimator}`.", "")
    parameters = ", ".join(f"`{name} = {value!r}`" for name, value in sorted(model.plan.parameters.items()))
    yield from (f"Parameters: {parameters or 'the defaults'}.", "")


def _data(model: FittedModel, manifest: ModelManifest) -> Iterator[str]:
    lineage, metrics = manifest.lineage, model.metrics
    yield from ("## Data", "")
    yield from _table(
        ("", ""),
        (
            ("table", f"`{_text(lineage.data_source)}`, {lineage.data_rows} rows"),
            ("SHA-256 of the validated table", f"`{lineage.data_sha256}`"),
            ("target", f"`{_text(model.table.target)}`"),
            ("split", f"{lineage.split}, seed {lineage.seed}"),
            ("fitted on", f"{metrics.train_rows} rows"),
            ("held out", f"{metrics.test_rows} rows"),
            ("trained at", lineage.trained_at.ToJsonString()),
            (
                "commit",
                f"`{lineage.git_commit}`{' with changes' * lineage.git_dirty}" if lineage.git_commit else "–",
            ),
            ("configuration (SHA-256)", f"`{lineage.config_sha256}`" if lineage.config_sha256 else "–"),
        ),
    )


def _figures(model: FittedModel) -> Iterator[str]:
    metrics = model.metrics
    yield from ("## Figures on held-out rows", "")
    known = [descriptor.name for descriptor, _ in metrics.ListFields()]
    rows = [
        (name, f"{getattr(metrics, name):.4f}", _interval(model, name)) for name in _FIGURES if name in known
    ]
    yield from _table(("figure", "value", "95 % confidence interval"), rows)
    if metrics.HasField("cross_validation_mean"):
        mean, std = metrics.cross_validation_mean, metrics.cross_validation_std
        score = "accuracy" if model.plan.is_classification else "r2"
        yield from (
            f"Cross-validation on the fitted rows: {score} {mean:.4f} ± {std:.4f} over the folds.",
            "",
        )


def _interval(model: FittedModel, name: str) -> str:
    metrics = model.metrics
    if name == "accuracy" and metrics.HasField("accuracy_low"):
        return f"{metrics.accuracy_low:.4f} to {metrics.accuracy_high:.4f} (Wilson)"
    if name == "r2" and metrics.HasField("r2_low"):
        return f"{metrics.r2_low:.4f} to {metrics.r2_high:.4f} (bootstrap)"
    return ""


def _classes(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.classes:
        yield from ("## Classes", "")
        rows = [
            (
                f"`{_text(one.label)}`",
                f"{one.precision:.3f}",
                f"{one.recall:.3f}",
                f"{one.f1:.3f}",
                str(one.rows),
            )
            for one in evaluation.classes[:_SHOWN_CLASSES]
        ]
        yield from _table(("class", "precision", "recall", "F1", "held-out rows"), rows)


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    found = evaluation.calibration
    if found is not None:
        yield "## Calibration"
        yield ""
        worst = 1 if len(evaluation.classes) <= _BINARY else 2
        yield (
            f"Expected calibration error {found.expected_error:.3f}, Brier score {found.brier:.3f} (0 is best, "
            f"{worst} worst). A probability of the predicted class is off by the first, on average."
        )
        yield ""


def _features(model: FittedModel, evaluation: Evaluation) -> Iterator[str]:
    yield from ("## Features", "", "By how much the score falls when the column is shuffled.", "")
    columns = {column.name: column for column in model.columns}
    rows = []
    for one in evaluation.importance[:_SHOWN_FEATURES]:
        column = columns[one.feature]
        values = [f"`{_text(text)}`" for text in column.categories[:_SHOWN_CATEGORIES]]
        more = len(column.categories) - len(values)
        missing = "may be missing" if column.nullable else ""
        shown = ", ".join([*values, *([f"{more} more"] if more else [])])
        kind = _TYPES[column.type] + (f": {shown}" if shown else "")
        rows.append((f"`{_text(one.feature)}`", kind, missing, f"{one.mean:.4f} ± {one.std:.4f}"))
    yield from _table(("feature", "type", "", "fall"), rows)


def _preprocessing(model: FittedModel) -> Iterator[str]:
    parts = matrix_part(model.estimator)
    if parts is model.estimator and not isinstance(parts, Pipeline):
        return
    yield from ("## Steps", "", "Fitted with the model and part of it; columns are counted from 0.", "")
    if parts is not model.estimator:
        yield "- `encode`: a text becomes its place among its categories, what is missing or unknown NaN."
    for name, step in getattr(parts, "steps", [("estimate", parts)]):
        inner = step.transformers if isinstance(step, ColumnTransformer) else [(name, step, None)]
        for _, what, places in inner:
            text = " ".join(repr(what).split()) if not isinstance(what, str) else what
            where = "" if places is None else f", columns {', '.join(map(str, places))}"
            yield f"- `{name}`{where}: `{_text(text, _STEP_LENGTH)}`"
    yield ""


def _limits(model: FittedModel, manifest: ModelManifest) -> Iterator[str]:
    yield from ("## Limits", "")
    yield "- The figures hold for rows like those of the table; drift monitoring says when live rows are not."
    if model.metrics.test_rows < _FEW_ROWS:
        yield f"- {model.metrics.test_rows} held-out rows are few: read the interval, not the value."
    for column in model.columns:
        if column.is_category:
            what = "taken as missing" if column.unknown_as_missing else "refused"
            yield f"- A text of `{_text(column.name)}` that is not listed above is {what}."
    parity = manifest.parity
    if parity.passed:
        yield (
            f"- `model.onnx` gives what scikit-learn gives: {parity.rows} rows compared, {parity.mismatches} "
            f"different, largest difference {parity.max_difference:.2g} (bound {parity.bound:.0e})."
        )
    else:
        yield f"- There is no `model.onnx`: {_text(parity.reason, 300)}."
    yield ""


def _serving(model: FittedModel, manifest: ModelManifest) -> Iterator[str]:
    runtime = "ONNX Runtime" if manifest.runtime == Runtime.RUNTIME_ONNX else "scikit-learn"
    yield from ("## How to serve it", "", f"By {runtime}, from a directory or from the registry:", "")
    yield "    MODEL_SOURCE=local MODEL_PATH=DIRECTORY python -m inference"
    yield f"    MODEL_URI=models:/{manifest.name}/VERSION python -m inference"
    yield ""
    names = ", ".join(f"`{_text(name)}`" for name in model.table.features[:_SHOWN_FEATURES])
    yield f"A row is {names}, in this order, or by name. `mlflow.pyfunc.load_model` takes the same columns."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _text(text: str, length: int = _TEXT_LENGTH) -> str:
    """Return somebody's text on one line, short, and without what ends a cell or a code span."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    shown = shown.replace("|", "¦").replace("`", "'").replace("<", "‹")
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
