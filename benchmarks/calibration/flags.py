"""What is raised in one window: by the alarm, and by Evidently."""

from drift.alarm.verdict import SCOPES, Finding
from drift.statistics.column import Comparison

__all__ = ["evidently_flags", "scope_flags"]


def scope_flags(finding: Finding) -> list[bool]:
    """Return which scopes exceed their level."""
    return [finding.exceeds(scope) for scope in SCOPES]


def evidently_flags(comparison: Comparison) -> list[bool]:
    """Return whether the dataset drifted, and whether any feature did."""
    return [comparison.dataset_drift, any(feature.drifted for feature in comparison.features)]
