"""What came of checking a contract: every check with its outcome, the violations, and the table if it is valid."""

from dataclasses import dataclass

from training.contracts.validated import ValidatedTable
from training.errors import ContractError, Violation

__all__ = ["Check", "ContractReport"]


@dataclass(frozen=True)
class Check:
    """One rule of the contract, what was found, and how many times the table breaks it.

    `checked` is false when what was wrong before left nothing to look at.
    """

    name: str
    rule: str
    violations: int
    found: str = ""
    checked: bool = True


@dataclass(frozen=True)
class ContractReport:
    """The outcome of every check; `violations` has the first of them, `table` is set when there are none.

    `drift` is the PSI of each column against the dataset accepted before, largest first.
    """

    source: str
    rows: int
    columns: int
    checks: tuple[Check, ...]
    violations: tuple[Violation, ...]
    table: ValidatedTable | None
    name: str = ""
    part: bool = False
    drift: tuple[tuple[str, float], ...] = ()

    @property
    def total(self) -> int:
        """The number of all violations."""
        return sum(check.violations for check in self.checks)

    def require_valid(self) -> ValidatedTable:
        """Return the validated table. Raises `ContractError` when there is none."""
        if self.table is None:
            raise ContractError(self.source, self.violations, self.total)
        return self.table
