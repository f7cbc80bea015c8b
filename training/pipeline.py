"""The stretch from a configuration to a bundle or a registered version, one step after the other."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.bundling.lineage import digest_config
from training.configuration.sections import Config
from training.contracts.contract import ContractReport
from training.contracts.validated import ValidatedTable
from training.contracts.validation import validate_dataset
from training.errors import ConfigError
from training.fitting.cross_validation import cross_validate
from training.fitting.estimator import EstimatorPlan, plan_estimator
from training.fitting.fit import FittedModel, fit_model
from training.fitting.fold_bar import long_work
from training.fitting.split import split_rows
from training.judging.evaluation import Evaluation, evaluate
from training.judging.gates import judge_champion, judge_gates, refuse_foreign_gates, require_gates
from training.registering.alias_name import CHAMPION
from training.report import Progress, show_contract, show_gates, show_note
from training.storage import public_uri, staged_directory, storage_errors

if TYPE_CHECKING:
    from training.bundling.bundle import Bundle
    from training.judging.comparison import Comparison
    from training.registering.registry import RegisteredVersion, Registry

__all__ = ["TrainingOutcome", "check_data", "run_training"]


@dataclass(frozen=True)
class TrainingOutcome:
    """What training made: a registered version, or a bundle in a directory, or both.

    `accuracy` is None for regression, `model_uri` when nothing was registered, `bundle_dir` when the bundle
    was only registered. `metrics` are all figures by name, `comparison` the verdict about the champion, None
    when there is none.
    """

    digest: str
    accuracy: float | None
    model_uri: str | None
    bundle_dir: Path | None
    metrics: dict[str, float] = field(default_factory=dict)
    comparison: dict[str, Any] | None = None


def check_data(config: Config) -> ContractReport:
    """Load the table that `config` names and check its contract."""
    return _check(config, plan_estimator(config.estimator.class_path, config.estimator.parameters, 0))


def run_training(
    config: Config,
    *,
    tracking_uri: str | None,
    bundle_dir: Path | None,
    alias: str | None,
    progress: Progress,
    announce: Callable[[str], None] = lambda _: None,
    sign_key: Path | None = None,
) -> TrainingOutcome:
    """Validate, fit, measure, judge, compare, bundle, register, and move the alias last.

    With `tracking_uri` None nothing of MLflow's tracking is touched and the bundle is left in `bundle_dir`.
    `announce` is told the model URI as soon as the version exists. Raises a `TrainingError` of one kind or
    another; a version that was announced before stays registered.
    """
    name = config.model_name
    with staged_directory(bundle_dir) as staging:
        with progress.step(f"validate {public_uri(config.dataset.source)}"):
            plan = plan_estimator(config.estimator.class_path, config.estimator.parameters, config.split.seed)
            refuse_foreign_gates(config.gates, plan)
            _refuse_lonely_gate(config, tracking_uri)
            table = _require_valid(_check(config, plan), progress)
        # Before the fit: an hour of training must not end at a registry that was never there.
        registry = None if tracking_uri is None else _connect(tracking_uri, progress)
        # Whoever moves an alias while this trains has a reason that this training does not know.
        at = (
            {}
            if registry is None
            else {one: registry.alias(name, one) for one in {CHAMPION, alias or CHAMPION}}
        )
        model, evaluation = _fit(config, plan, table, progress)
        comparison = None if registry is None else _compare(registry, model, at[CHAMPION], config, progress)
        made = _Made(config, model, evaluation, comparison, sign_key)
        model_uri = None
        if registry is None:
            digest = _bundle(staging, made, progress).digest
        else:
            digest, version = _register(registry, staging, made, progress)
            model_uri = version.uri
            announce(model_uri)
    if registry is not None and alias is not None:
        registry.set_alias(version, alias, expect=at[alias])
    metrics = _metrics(model)
    found = None if comparison is None else comparison.to_json()
    return TrainingOutcome(digest, metrics.get("accuracy"), model_uri, bundle_dir, metrics, found)


@dataclass(frozen=True)
class _Made:
    """What the steps before the bundle made."""

    config: Config
    model: FittedModel
    evaluation: Evaluation
    comparison: "Comparison | None"
    sign_key: Path | None


def _check(config: Config, plan: EstimatorPlan) -> ContractReport:
    return validate_dataset(config, classification=plan.is_classification)


def _refuse_lonely_gate(config: Config, tracking_uri: str | None) -> None:
    if config.gates.champion is not None and tracking_uri is None:
        problem = "[gates] champion: without a registry there is no champion; register, or take it out"
        raise ConfigError([problem], source="the configuration")


def _require_valid(report: ContractReport, progress: Progress) -> ValidatedTable:
    if report.table is None and not progress.quiet:
        show_contract(report, to_stdout=False)
    return report.require_valid()


def _connect(tracking_uri: str, progress: Progress) -> "Registry":
    from training.registering.registry import Registry  # noqa: PLC0415  # MLflow takes a second to import

    with progress.step(f"connect to {public_uri(tracking_uri)}"):
        return Registry(tracking_uri)


def _fit(
    config: Config, plan: EstimatorPlan, table: ValidatedTable, progress: Progress
) -> tuple[FittedModel, Evaluation]:
    kind, split = plan.class_path.rpartition(".")[2], config.split
    rows = split_rows(table, split, plan.is_classification)
    title = f"fit {kind} on {len(rows[0])} rows, hold out {len(rows[1])}"
    with progress.step(title), long_work(title, quiet=progress.quiet):
        model = fit_model(table, plan, split, config.preprocessing, rows)
    if split.folds:
        title = f"cross-validate in {split.folds} folds"
        with progress.step(title), long_work(title, total=split.folds, quiet=progress.quiet) as advance:
            cross_validate(model, split, config.preprocessing, advance)
    gates = judge_gates(model.metrics, config.gates)
    if not progress.quiet:
        show_gates(gates)
    require_gates(config.model_name, gates)
    with progress.step("evaluate on held-out rows"):
        return model, evaluate(model, split.seed)


def _compare(
    registry: "Registry", model: FittedModel, champion: int | None, config: Config, progress: Progress
) -> "Comparison | None":
    from training.judging.contest import compare_with_champion  # noqa: PLC0415  # MLflow and skl2onnx take seconds

    if champion is None:
        return None
    with progress.step(f"compare with champion version {champion}"):
        found = compare_with_champion(registry, model, config.model_name, champion, config.split.seed)
    if found is not None:
        if not progress.quiet:
            show_note(str(found))
        gates = judge_champion(config.gates, found.verdict, found.reason)
        if not progress.quiet:
            show_gates(gates)
        require_gates(config.model_name, gates)
    return found


def _bundle(staging: Path, made: _Made, progress: Progress, **mlflow_ids: str) -> "Bundle":
    from training.bundling.bundle import build_bundle  # noqa: PLC0415  # MLflow and skl2onnx take seconds to import

    config = made.config
    with progress.step("bundle, compile, verify"):
        bundle = build_bundle(
            staging,
            made.model,
            name=config.model_name,
            seed=config.split.seed,
            config_sha256=digest_config(config),
            evaluation=made.evaluation,
            **mlflow_ids,
        )
    if bundle.manifest.parity.reason:
        show_note(f"served by scikit-learn, not ONNX: {bundle.manifest.parity.reason}")
    if made.sign_key is not None:
        from training.bundling.signing import sign_bundle  # noqa: PLC0415  # an extra

        with progress.step(f"sign with {made.sign_key}"):
            sign_bundle(staging, made.sign_key)
    return bundle


def _register(
    registry: "Registry", staging: Path, made: _Made, progress: Progress
) -> "tuple[str, RegisteredVersion]":
    """Return the digest of the bundle and the version that holds it."""
    config, model = made.config, made.model
    params = {
        "estimator": model.plan.class_path,
        **model.plan.parameters,
        "seed": config.split.seed,
        "split": model.split,
        "test_ratio": config.split.test_ratio,
        "data_source": model.table.source,
        "data_sha256": model.table.sha256,
    }
    with registry.recording(config.model_name, params) as recording:
        ids = {"run_id": recording.run_id, "model_id": recording.model_id}
        bundle = _bundle(staging, made, progress, **ids)
        with progress.step(f"register as {config.model_name}"):
            with storage_errors(tempfile.gettempdir()), tempfile.TemporaryDirectory() as aside:
                _write_evaluation(Path(aside), made)
                registry.log_evaluation(recording, Path(aside))
            gated = bool(judge_gates(model.metrics, config.gates))
            version = registry.register(recording, bundle, _metrics(model), gated=gated)
    return bundle.digest, version


def _write_evaluation(directory: Path, made: _Made) -> None:
    from training.judging.evaluation_files import write_evaluation  # noqa: PLC0415  # matplotlib takes a second to import

    more = {} if made.comparison is None else {"champion_comparison": made.comparison.to_json()}
    write_evaluation(directory, made.evaluation, **more)


def _metrics(model: FittedModel) -> dict[str, float]:
    return {descriptor.name: float(value) for descriptor, value in model.metrics.ListFields()}
