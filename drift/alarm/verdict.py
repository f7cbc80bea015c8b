"""What the alarm says."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SCOPES", "Alarm", "Finding"]

#: What is tested: each feature for itself, the predictions, and the features together.
SCOPES = ("features", "prediction", "joint")


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one evaluation, before persistence is asked for.

    `p_values` has a key for each scope; `feature_p_values` has one, adjusted for the number of features, for each
    feature, so that those at the level of the scope are the ones that spoke. `levels` are the levels.
    """

    p_values: Mapping[str, float]
    feature_p_values: Mapping[str, float]
    levels: Mapping[str, float]

    def exceeds(self, scope: str) -> bool:
        """Whether chance alone is no likely explanation."""
        return self.p_values[scope] <= self.levels[scope]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The alarm after an evaluation: a scope is raised once it exceeded its level in enough evaluations in a row.

    `runs` counts, for each scope, the evaluations in a row that exceeded it, up to this one.
    """

    features: bool
    prediction: bool
    joint: bool
    any: bool
    p_values: Mapping[str, float]
    feature_p_values: Mapping[str, float]
    levels: Mapping[str, float]
    runs: Mapping[str, int]
    runs_needed: int
