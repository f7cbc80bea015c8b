"""The data contract: what a table must satisfy before anything learns from it.

`column_rules` settles what each column must hold, `column_checks` asks pandera, `target_checks` and `row_checks`
look at the table as a whole, `stability` compares it with the one accepted before. A table that passes becomes
a `ValidatedTable`.
"""

from dataclasses import replace
from typing import Final

import pandas as pd

from protos.inference.v1.manifest_pb2 import FeatureType
from training.configuration.sections import ContractSection, SplitSection
from training.contracts.accepted import Accepted
from training.contracts.column_checks import check_columns
from training.contracts.column_rules import ColumnRule, rules_of
from training.contracts.column_values import TypedColumn, plain_cells, typed
from training.contracts.contract_report import Check, ContractReport
from training.contracts.contract_rules import rule_texts
from training.contracts.findings import Findings
from training.contracts.row_checks import check_duplicates, check_groups, check_leakage, hash_rows
from training.contracts.stability import stability_index
from training.contracts.target_checks import check_classes, check_constant
from training.contracts.validated import ValidatedTable
from training.data.columns import Column
from training.data.dataset import Table
from training.errors import ContractError, Violation

__all__ = ["MAX_VIOLATIONS", "Check", "ContractReport", "ValidatedTable", "check_contract"]

#: Violations that a report carries unless it is asked for more; the counts are of all.
MAX_VIOLATIONS: Final = 20

#: Checks that a table without the right columns goes through as well, and those that only a valid table does.
_OF_THE_SHAPE: Final = ("columns", "rows")
_OF_VALID_TABLES: Final = ("split", "leakage", "drift")


def check_contract(
    table: Table,
    contract: ContractSection,
    *,
    classification: bool,
    split: SplitSection | None = None,
    previous: Accepted | None = None,
    limit: int = MAX_VIOLATIONS,
) -> ContractReport:
    """Check `table`; no violation raises, the report holds them.

    Leakage is looked for when `split` is given, drift when `previous` is.
    """
    return _Examination(table, contract, classification, limit).report(split, previous)


class _Examination:
    """One table and its contract, and what was found so far."""

    def __init__(self, table: Table, contract: ContractSection, classification: bool, limit: int) -> None:
        self.table, self.contract, self.classification = table, contract, classification
        columns = [str(name) for name in table.frame.columns]
        left_out = {table.target, *table.beside}
        self.features = table.features or tuple(name for name in columns if name not in left_out)
        self.findings = Findings(limit)
        self.found: dict[str, str] = {}
        self.drift: tuple[tuple[str, float], ...] = ()

    def report(self, split: SplitSection | None, previous: Accepted | None) -> ContractReport:
        found = self.table.frame.reset_index(drop=True)
        plain = {name: plain_cells(found[name]) for name in found.columns}
        frame = pd.DataFrame({name: values for name, (values, _) in plain.items()}, copy=False)
        rules = rules_of(replace(self.table, frame=frame), self.contract, self.features, self.classification)
        self._check_shape()
        valid = None
        if not self.findings.counts["columns"]:
            columns = {rule.name: typed(found[rule.name], *plain[rule.name], rule) for rule in rules}
            self._check_content(columns)
            if not self.findings:
                valid = self._validated(columns)
                self._check_leakage(valid, split)
                self._check_drift(valid, previous)
        texts = rule_texts(self.contract, rules, self.classification, split, previous)
        return ContractReport(
            source=self.table.source,
            rows=len(self.table.frame),
            columns=len(self.table.frame.columns),
            checks=tuple(self._outcome(name, rule) for name, rule in texts.items()),
            violations=self.findings.listed(),
            table=None if self.findings else valid,
            name=self.table.name,
            part=self.table.part,
            drift=self.drift,
        )

    def _outcome(self, name: str, rule: str) -> Check:
        counts = self.findings.counts
        checked = True
        if name not in _OF_THE_SHAPE:
            checked = not counts["columns"]
        if name in _OF_VALID_TABLES:
            checked = name in self.found or counts[name] > 0
        return Check(name, rule, counts[name], self.found.get(name, ""), checked)

    def _check_shape(self) -> None:
        table, contract, add = self.table, self.contract, self.findings.add
        existing = [str(name) for name in table.frame.columns]
        grouped = [name for group in contract.unique for name in group]
        for name in dict.fromkeys([*self.features, table.target, *table.beside, *contract.columns, *grouped]):
            if name not in existing:
                rule = f"the column is missing; the table has {', '.join(existing) or 'no columns'}"
                add("columns", Violation(rule, name))
        if not self.features:
            add("columns", Violation("there is no feature column beside the target"))
        if table.target in self.features:
            add("columns", Violation("the target cannot be a feature as well", table.target))
        rows = len(table.frame)
        if rows < contract.min_rows:
            add("rows", Violation(f"at least {contract.min_rows} rows are needed", value=str(rows)))
        if contract.max_rows is not None and rows > contract.max_rows:
            add("rows", Violation(f"at most {contract.max_rows} rows are allowed", value=str(rows)))

    def _check_content(self, columns: dict[str, TypedColumn]) -> None:
        check_columns(columns, self.findings)
        target = columns[self.table.target]
        check_constant(target.values.rename(self.table.target), self.findings)
        if self.classification:
            labels = target.values.rename(self.table.target)
            self.found["rows a class"] = check_classes(labels, self.contract, self.findings)
        frame = pd.DataFrame({name: column.values for name, column in columns.items()}, copy=False)
        check_groups(frame, self.contract, self.findings)
        kept = frame[[*self.features, self.table.target]]
        self.found["duplicates"] = check_duplicates(kept, self.contract, self.findings)

    def _check_leakage(self, table: ValidatedTable, split: SplitSection | None) -> None:
        if split is None or self.table.part:
            return
        from training.fitting.split import split_rows  # noqa: PLC0415  # it splits what this module validates

        try:
            train, test = split_rows(table, split, self.classification)
        except ContractError as error:
            for violation in error.violations:
                self.findings.add("split", violation)
            return
        features = hash_rows(table.frame, table.features)
        most = self.contract.max_leakage_ratio
        self.found["split"] = f"{len(train)} rows to fit on, {len(test)} held out"
        self.found["leakage"] = check_leakage(features, train, test, most, self.findings)

    def _check_drift(self, table: ValidatedTable, previous: Accepted | None) -> None:
        if previous is None or self.table.part:
            return
        moved: dict[str, float] = {}
        for name, profile in previous.columns.items():
            if name in table.frame.columns:
                index = stability_index(profile, table.frame[name])
                if index is not None:
                    moved[name] = index
        self.drift = tuple(sorted(moved.items(), key=lambda item: -item[1]))
        if self.drift:
            self.found["drift"] = f"at most {self.drift[0][1]:.3f} ({self.drift[0][0]})"
        most = self.contract.max_drift
        for name, index in self.drift:
            if most is not None and index > most:
                rule = (
                    f"may differ by at most {most:g} (PSI) from the table accepted at {previous.accepted_at}"
                )
                self.findings.add("drift", Violation(rule, name, value=f"{index:.3f}"))

    def _validated(self, columns: dict[str, TypedColumn]) -> ValidatedTable:
        beside = [name for name in self.table.beside if name not in self.features]
        order = dict.fromkeys([*self.features, *beside, self.table.target])
        frame = pd.DataFrame({name: columns[name].values for name in order}, copy=False)
        described = tuple(_described(columns[name]) for name in self.features)
        table = self.table
        return ValidatedTable(table.name, table.source, frame, table.target, tuple(self.features), described)


def _described(column: TypedColumn) -> Column:
    rule: ColumnRule = column.rule
    nullable, unknown = rule.section.nullable, rule.section.unknown == "missing"
    if rule.kind != "category":
        kind = FeatureType.FEATURE_TYPE_INTEGER if rule.kind == "integer" else FeatureType.FEATURE_TYPE_FLOAT
        return Column(rule.name, kind, nullable)
    texts = rule.allowed or tuple(sorted(map(str, column.values.dropna().unique())))
    return Column(rule.name, FeatureType.FEATURE_TYPE_CATEGORY, nullable, texts, unknown)
