"""Gates: yes or no with reasons, before anything is registered."""

from dataclasses import dataclass
from typing import Final

from protos.inference.v1.manifest_pb2 import ModelMetrics
from training.configuration.sections import GatesSection
from training.errors import ConfigError, GateError
from training.fitting.estimator import EstimatorPlan

__all__ = ["ChampionGate", "Gate", "judge_champion", "judge_gates", "refuse_foreign_gates", "require_gates"]

_OF_CLASSIFIERS: Final[tuple[str, ...]] = ("accuracy", "accuracy_low", "f1_macro")
_OF_REGRESSORS: Final[tuple[str, ...]] = ("r2", "r2_low")

#: What passes `[gates] champion`: its value → verdicts.
_PASSING: Final = {"better": ("BETTER",), "not_worse": ("BETTER", "NO_DIFFERENCE")}


@dataclass(frozen=True)
class Gate:
    """One limit with what was found; `passed` when found is at least wanted."""

    metric: str
    found: float
    wanted: float

    @property
    def passed(self) -> bool:
        """True when the metric reaches the limit; a metric that is not a number never does."""
        return self.found >= self.wanted

    def __str__(self) -> str:
        relation = ">=" if self.passed else "is below"
        return f"{self.metric} {self.found:.4f} {relation} {self.wanted:.4g}"


@dataclass(frozen=True)
class ChampionGate:
    """The wanted verdict of the comparison with the champion, and the one that was found, with its reason."""

    wanted: str
    verdict: str
    reason: str

    @property
    def passed(self) -> bool:
        """True when the verdict is as wanted; models that cannot be compared never pass."""
        return self.verdict in _PASSING[self.wanted]

    def __str__(self) -> str:
        relation = "is" if self.passed else "is not"
        return f"champion: {self.verdict} {relation} {self.wanted} ({self.reason})"


def refuse_foreign_gates(gates: GatesSection, plan: EstimatorPlan) -> None:
    """Raise `ConfigError` when a limit is set that this kind of model cannot be asked for.

    Ignored, it would let every model through. The default of `accuracy` was set by nobody.
    """
    kind, own, foreign = "regressor", _OF_REGRESSORS, _OF_CLASSIFIERS
    if plan.is_classification:
        kind, own, foreign = "classifier", _OF_CLASSIFIERS, _OF_REGRESSORS
    set_here = [
        name for name in foreign if name in gates.model_fields_set and getattr(gates, name) is not None
    ]
    if set_here:
        name = plan.class_path.rpartition(".")[2]
        remedy = f"take it out, or set {' or '.join(own)} instead"
        raise ConfigError(
            [f"[gates] {gate}: {name} is a {kind}, which has none; {remedy}" for gate in set_here],
            source="the configuration",
        )


def judge_gates(metrics: ModelMetrics, gates: GatesSection) -> list[Gate]:
    """Return the gates that are asked of this kind of model: it has the metric, and the limit is set."""
    limits = {name: getattr(gates, name) for name in (*_OF_CLASSIFIERS, *_OF_REGRESSORS)}
    return [
        Gate(metric, getattr(metrics, metric), wanted)
        for metric, wanted in limits.items()
        if wanted is not None and metrics.HasField(metric)  # type: ignore[arg-type]  # names of optional fields
    ]


def judge_champion(gates: GatesSection, verdict: str, reason: str) -> list[ChampionGate]:
    """Return the gate of the comparison when it is asked for."""
    return [] if gates.champion is None else [ChampionGate(gates.champion, verdict, reason)]


def require_gates(model: str, gates: list[Gate] | list[ChampionGate]) -> None:
    """Raise `GateError` with every gate that is not passed."""
    failures = [str(gate) for gate in gates if not gate.passed]
    if failures:
        raise GateError(model, failures)
