"""What people and programs see: results on standard output, everything else on standard error."""

import json
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.contracts.contract import ContractReport
from training.errors import TrainingError
from training.judging.gates import ChampionGate, Gate

__all__ = [
    "Progress",
    "contract_json",
    "show_contract",
    "show_error",
    "show_gates",
    "show_note",
    "write_result",
]


def write_result(line: str) -> None:
    """Write one line to standard output: the only function that does."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show_error(command: str, error: TrainingError | str) -> None:
    """Say on standard error why `command` ends."""
    sys.stderr.write(f"{command}: {error}\n")


def show_note(text: str) -> None:
    """Say something on standard error that is worth knowing and no error."""
    sys.stderr.write(f"note: {text}\n")


class Progress:
    """One line a step on standard error, with its time; nothing when quiet.

    with progress.step("fit"):
        …
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def step(self, title: str) -> "_Step":
        """Measure the block that follows, and show `title` with its time when it ends well."""
        return _Step(title, self.quiet)


class _Step:
    def __init__(self, title: str, quiet: bool) -> None:
        self.title, self._quiet = title, quiet

    def __enter__(self) -> "_Step":
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None and not self._quiet:
            sys.stderr.write(f"{time.perf_counter() - self._start:6.2f} s  {self.title}\n")


def show_contract(report: ContractReport, *, to_stdout: bool) -> None:
    """Show the checks of a data contract as a table, and the rows that break it."""
    console = Console(stderr=not to_stdout, soft_wrap=False)
    console.print(_checks(report))
    if not report.violations:
        return
    listed = _table("violations", ("row", "column", "found", "expected"))
    for violation in report.violations:
        row = "" if violation.row is None else str(violation.row)
        listed.add_row(row, *map(escape, (violation.column or "", violation.value or "", violation.rule)))
    if report.total > len(report.violations):
        listed.caption = (
            f"{len(report.violations)} of {report.total}, some of each kind (--limit N shows more); "
            "row 1 is the first after the header"
        )
    console.print(listed)


def _checks(report: ContractReport) -> Table:
    which = "the first " if report.part else ""
    title = f"{report.source}: {which}{report.rows} rows, {report.columns} columns"
    table = _table(title, ("check", "expected", "found", "result"))
    for check in report.checks:
        count = f"{check.violations} violation{'s' if check.violations != 1 else ''}"
        passed = "[green]ok[/green]" if check.checked else "[dim]not checked[/dim]"
        result = f"[red]{count}[/red]" if check.violations else passed
        table.add_row(check.name, escape(check.rule), escape(check.found), result)
    return table


def contract_json(report: ContractReport, *, output: str | None) -> str:
    """Return the report as one JSON object on one line; `output` is where the table was written."""
    return json.dumps(
        {
            "valid": report.table is not None,
            "source": report.source,
            "rows": report.rows,
            "part": report.part,
            "sha256": report.table.sha256 if report.table else None,
            "output": output,
            "checks": [vars(check) for check in report.checks],
            "total_violations": report.total,
            "violations": [
                {"row": found.row, "column": found.column, "value": found.value, "rule": found.rule}
                for found in report.violations
            ],
            "drift": dict(report.drift),
        }
    )


def show_gates(gates: Sequence[Gate | ChampionGate]) -> None:
    """Show every gate with its verdict on standard error."""
    for gate in gates:
        sys.stderr.write(f"{'pass' if gate.passed else 'FAIL':>8}  gate: {gate}\n")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "row" else "left")
    return table
