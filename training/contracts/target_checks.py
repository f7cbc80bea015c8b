"""What the target as a whole must satisfy: something to tell apart, and enough rows of each class."""

from typing import Final

import pandas as pd

from training.configuration.sections import ContractSection
from training.contracts.findings import Findings, percent, shown
from training.errors import Violation

__all__ = ["MAX_CLASSES", "MIN_ROWS_PER_CLASS", "check_classes", "check_constant"]

#: Two are the least that a stratified split can share out.
MIN_ROWS_PER_CLASS: Final = 2
#: Each class stands in the manifest, and each answer has a probability of it.
MAX_CLASSES: Final = 1024


def check_constant(target: pd.Series, findings: Findings) -> None:
    """Find a target that has one value only."""
    values = target.dropna().unique()
    if len(values) == 1:
        rule = "at least two different labels are needed"
        findings.add("labels", Violation(rule, str(target.name), value=f"{shown(values[0])} only"))


def check_classes(labels: pd.Series, contract: ContractSection, findings: Findings) -> str:
    """Find classes with too few rows; return the classes found, in words."""
    counts = labels.value_counts().sort_index()
    total, column = int(counts.sum()), str(labels.name)
    if len(counts) > MAX_CLASSES:
        rule = (
            f"a classifier tells at most {MAX_CLASSES} classes apart: choose a regressor as [estimator] class, or "
            "another [dataset] target"
        )
        findings.add("labels", Violation(rule, column, value=f"{len(counts)} different labels"))
        return f"{len(counts)} classes"
    few = counts[counts < MIN_ROWS_PER_CLASS]
    found = (
        Violation(f"class {shown(label)} needs at least {MIN_ROWS_PER_CLASS} rows", column, value=str(count))
        for label, count in few.items()
    )
    findings.add_many("rows a class", column, len(few), found)
    rare = counts[counts < contract.min_class_ratio * total]
    wanted = f"needs at least {percent(contract.min_class_ratio)} of the rows"
    scarce = (
        Violation(f"class {shown(label)} {wanted}", column, value=f"{percent(count / total)}")
        for label, count in rare.items()
    )
    findings.add_many("balance", column, len(rare), scarce)
    if not total:
        return "none"
    least, rows = counts.idxmin(), int(counts.min())
    return f"{len(counts)} classes, the smallest {shown(least)} with {rows} rows ({percent(rows / total)})"
