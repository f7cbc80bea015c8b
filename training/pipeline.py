"""The stretch from a configuration to a bundle or a registered version, one step after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import Config
from training.contract import ContractReport, ValidatedTable, check_contract
from training.dataset import load_table
from training.estimator import EstimatorPlan, plan_estimator
from training.fit import FittedModel, fit_model
from training.gates import judge_gates, refuse_foreign_gates, require_gates
from training.report import Progress, show_contract, show_gates, show_note
from training.storage import public_uri, staged_directory

if TYPE_CHECKING:
    from training.bundle import Bundle
    from training.registry import RegisteredVersion, Registry

__all__ = ["TrainingOutcome", "check_data", "run_training"]


@dataclass(frozen=True)
class TrainingOutcome:
    """What training made: a registered version, or a bundle in a directory, or both.

    `accuracy` is None for regression, `model_uri` when nothing was registered, `bundle_dir` when the bundle
    was only registered.
    """

    digest: str
    accuracy: float | None
    model_uri: str | None
    bundle_dir: Path | None


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
) -> TrainingOutcome:
    """Validate, fit, measure, judge, bundle, register, and move the alias last.

    With `tracking_uri` None nothing of MLflow's tracking is touched and the bundle is left in `bundle_dir`.
    `announce` is told the model URI as soon as the version exists. Raises a `TrainingError` of one kind or
    another; a version that was announced before stays registered.
    """
    name, seed = config.model_name, config.split.seed
    with staged_directory(bundle_dir) as staging:
        with progress.step(f"validate {config.dataset.source}"):
            plan = plan_estimator(config.estimator.class_path, config.estimator.parameters, seed)
            refuse_foreign_gates(config.gates, plan)
            table = _require_valid(_check(config, plan), progress)
        # Before the fit: an hour of training must not end at a registry that was never there.
        registry = None if tracking_uri is None else _connect(tracking_uri, progress)
        model = _fit(config, plan, table, progress)
        model_uri = None
        if registry is None:
            digest = _bundle(staging, model, name, seed, progress).digest
        else:
            digest, version = _register(registry, staging, model, config, progress)
            model_uri = version.uri
            announce(model_uri)
    if registry is not None and alias is not None:
        registry.set_alias(version, alias)
    accuracy = model.metrics.accuracy if model.metrics.HasField("accuracy") else None
    return TrainingOutcome(digest, accuracy, model_uri, bundle_dir)


def _check(config: Config, plan: EstimatorPlan) -> ContractReport:
    table = load_table(config)
    return check_contract(table, config.contract, classification=plan.is_classification)


def _require_valid(report: ContractReport, progress: Progress) -> ValidatedTable:
    if report.table is None and not progress.quiet:
        show_contract(report, to_stdout=False)
    return report.require_valid()


def _connect(tracking_uri: str, progress: Progress) -> "Registry":
    from training.registry import Registry  # noqa: PLC0415  # MLflow takes a second to import

    with progress.step(f"connect to {public_uri(tracking_uri)}"):
        return Registry(tracking_uri)


def _fit(config: Config, plan: EstimatorPlan, table: ValidatedTable, progress: Progress) -> FittedModel:
    kind = plan.class_path.rpartition(".")[2]
    with progress.step(f"fit {kind} on {len(table.frame)} rows, hold out {config.split.test_ratio:.0%}"):
        model = fit_model(table, plan, config.split)
    gates = judge_gates(model.metrics, config.gates)
    if not progress.quiet:
        show_gates(gates)
    require_gates(config.model_name, gates)
    return model


def _bundle(
    staging: Path, model: FittedModel, name: str, seed: int, progress: Progress, **mlflow_ids: str
) -> "Bundle":
    from training.bundle import build_bundle  # noqa: PLC0415  # MLflow and skl2onnx take seconds to import

    with progress.step("bundle, compile, verify"):
        bundle = build_bundle(staging, model, name=name, seed=seed, **mlflow_ids)
    if bundle.manifest.parity.reason:
        show_note(f"served by scikit-learn, not ONNX: {bundle.manifest.parity.reason}")
    return bundle


def _register(
    registry: "Registry",
    staging: Path,
    model: FittedModel,
    config: Config,
    progress: Progress,
) -> "tuple[str, RegisteredVersion]":
    """Return the digest of the bundle and the version that holds it."""
    name, seed = config.model_name, config.split.seed
    params = {
        "estimator": model.plan.class_path,
        **model.plan.parameters,
        "seed": seed,
        "test_ratio": config.split.test_ratio,
        "data_source": model.table.source,
        "data_sha256": model.table.sha256,
    }
    with registry.recording(name, params) as recording:
        ids = {"run_id": recording.run_id, "model_id": recording.model_id}
        bundle = _bundle(staging, model, name, seed, progress, **ids)
        metrics = {field.name: float(value) for field, value in model.metrics.ListFields()}
        with progress.step(f"register as {name}"):
            gated = bool(judge_gates(model.metrics, config.gates))
            version = registry.register(recording, bundle, metrics, gated=gated)
    return bundle.digest, version
