"""The rules of a contract in words, one a check, in the order of the report."""

from collections.abc import Sequence
from typing import Final

from training.configuration.sections import ContractSection, SplitSection
from training.contracts.accepted import Accepted
from training.contracts.column_rules import ColumnRule, limits
from training.contracts.findings import percent
from training.contracts.target_checks import MIN_ROWS_PER_CLASS

__all__ = ["rule_texts"]

_UNLIMITED: Final = "no limit is set"


def rule_texts(
    contract: ContractSection,
    rules: Sequence[ColumnRule],
    classification: bool,
    split: SplitSection | None,
    previous: Accepted | None,
) -> dict[str, str]:
    """Return the name of each check and what it asks for."""
    most = "" if contract.max_rows is None else f", at most {contract.max_rows}"
    nullable = [rule.name for rule in rules if rule.section.nullable]
    ranges = [f"{rule.name} {limits(rule.section)}" for rule in rules if limits(rule.section)]
    values = [rule.name for rule in rules if rule.allowed is not None and rule.kind != "label"]
    unique = [rule.name for rule in rules if rule.section.unique] + [
        " + ".join(one) for one in contract.unique
    ]
    labels = next((rule.allowed for rule in rules if rule.kind == "label"), None)
    texts = {
        "columns": "the features, the target and every other column that the configuration names exist",
        "rows": f"at least {contract.min_rows}{most}",
        "missing": "no value is missing" + (f", but in {', '.join(nullable)}" if nullable else ""),
        "number": "what must be a number is one" + ("" if classification else ", the target too"),
        "finite": "every number is finite, also as float32",
        "range": "; ".join(ranges) or _UNLIMITED,
        "values": f"listed values only: {', '.join(values)}" if values else "texts are short, and few differ",
        "unique": f"no repetition: {', '.join(unique)}" if unique else "nothing is asked",
        "labels": f"one of {', '.join(labels)}" if labels else "at least two different values",
    }
    if classification:
        texts["rows a class"] = f"at least {MIN_ROWS_PER_CLASS}"
        texts["balance"] = f"each class at least {percent(contract.min_class_ratio)} of the rows"
        if not contract.min_class_ratio:
            texts["balance"] = _UNLIMITED
    repeated = f"at most {percent(contract.max_duplicate_ratio)} of the rows repeat another"
    texts["duplicates"] = repeated if contract.max_duplicate_ratio < 1 else _UNLIMITED
    if split is not None:
        texts["split"] = "the rows suffice for [split]"
        leaked = (
            f"at most {percent(contract.max_leakage_ratio)} of held-out rows have features that are fitted on"
        )
        texts["leakage"] = leaked if contract.max_leakage_ratio < 1 else _UNLIMITED
    texts["drift"] = _drift(contract, previous)
    return texts


def _drift(contract: ContractSection, previous: Accepted | None) -> str:
    if previous is None:
        return "nothing was accepted before"
    asked = _UNLIMITED if contract.max_drift is None else f"PSI at most {contract.max_drift:g}"
    return f"{asked}, against the table accepted at {previous.accepted_at}"
