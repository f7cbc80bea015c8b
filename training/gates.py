"""Gates: yes or no with reasons, before anything is registered."""

from dataclasses import dataclass

from protos.inference.v1.manifest_pb2 import ModelMetrics
from training.config import GatesSection
from training.errors import GateError

__all__ = ["Gate", "judge_gates", "require_gates"]


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


def judge_gates(metrics: ModelMetrics, gates: GatesSection) -> list[Gate]:
    """Return the gates that are asked of this kind of model: it has the metric, and the limit is set."""
    limits = {"accuracy": gates.accuracy, "f1_macro": gates.f1_macro, "r2": gates.r2}
    return [
        Gate(metric, getattr(metrics, metric), wanted)
        for metric, wanted in limits.items()
        if wanted is not None and metrics.HasField(metric)  # type: ignore[arg-type]  # names of optional fields
    ]


def require_gates(model: str, gates: list[Gate]) -> None:
    """Raise `GateError` with every gate that is not passed."""
    failures = [str(gate) for gate in gates if not gate.passed]
    if failures:
        raise GateError(model, failures)
