"""Everything that can go wrong between a table and a registered version, and how the command then ends.

Each error carries its data as attributes and builds its sentence once: what was asked, what exists, what to
do. `training.report` shows the sentence; `exit_code` says how the process ends.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AliasConflictError",
    "BundleError",
    "ConfigError",
    "ContractError",
    "DatasetError",
    "EstimatorError",
    "ExitCode",
    "GateError",
    "RegistryError",
    "StorageError",
    "TrainingError",
    "Violation",
]


class ExitCode(enum.IntEnum):
    """How `python -m training.validate` and `python -m training.train` end."""

    OK = 0
    #: A model was trained, and a gate refused it; nothing was registered.
    REFUSED = 1
    #: Wrong usage or configuration: a flag, a key, an estimator, a path that does not exist.
    USAGE = 2
    #: Something outside is missing: registry unreachable, disk full, directory not writable.
    INFRASTRUCTURE = 4
    #: The table breaks its data contract.
    CONTRACT = 5


class TrainingError(Exception):
    """Base of all errors of this package."""

    exit_code = ExitCode.INFRASTRUCTURE


class ConfigError(TrainingError):
    """The configuration is wrong; `problems` has one sentence a key, all of them at once."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[str], *, source: str = "the command line") -> None:
        self.problems, self.source = list(problems), source
        count = f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} wrong"
        super().__init__("\n".join([f"{source}: {count}:", *(f"  {problem}" for problem in problems)]))


class EstimatorError(TrainingError):
    """The estimator cannot be found, built, fitted on the table, or stored safely."""

    exit_code = ExitCode.USAGE

    def __init__(self, estimator: str, reason: str, remedy: str) -> None:
        self.estimator, self.reason, self.remedy = estimator, reason, remedy
        super().__init__(f"the estimator {estimator} cannot be used: {reason}; {remedy}")


class DatasetError(TrainingError):
    """The table cannot be read as a table; `exit_code` tells a wrong path from wrong content."""

    def __init__(self, source: str, reason: str, remedy: str, *, exit_code: ExitCode) -> None:
        self.source, self.reason, self.remedy, self.exit_code = source, reason, remedy, exit_code
        super().__init__(f"the table {source} cannot be read: {reason}; {remedy}")


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a table breaks its contract.

    `row` counts data rows from 1 (a header is not counted) and is None when the whole table or column is
    meant; `rule` says what was expected.
    """

    rule: str
    column: str | None = None
    row: int | None = None
    value: str | None = None

    def __str__(self) -> str:
        place = [f"row {self.row}" if self.row is not None else "", self.column or ""]
        where = ", ".join(part for part in place if part) or "table"
        return f"{where}: {self.rule}" + (f" (found {self.value})" if self.value is not None else "")


class ContractError(TrainingError):
    """The table was read and breaks its contract.

    `violations` holds the first of them, `total` says how many there are.
    """

    exit_code = ExitCode.CONTRACT

    def __init__(self, source: str, violations: Sequence[Violation], total: int) -> None:
        self.source, self.violations, self.total = source, list(violations), total
        count = f"{total} violation{'s' if total != 1 else ''}"
        more = f" (and {total - 1} more)" if total > 1 else ""
        super().__init__(
            f"the table {source} breaks its data contract, {count}: {violations[0]}{more}; "
            "correct the table, or what the configuration says of it"
        )


class GateError(TrainingError):
    """A model below a gate; `failures` has one phrase a gate."""

    exit_code = ExitCode.REFUSED

    def __init__(self, model: str, failures: Sequence[str]) -> None:
        self.model, self.failures = model, list(failures)
        super().__init__(
            f"the model {model} is refused and nothing was registered: {', '.join(failures)}; "
            "improve the data or the estimator, or change the limit under [gates]"
        )


class BundleError(TrainingError):
    """A bundle that must not be registered: a file is missing, differs from its digest, or does not run."""

    def __init__(self, bundle: str, reason: str, remedy: str = "train the model again") -> None:
        self.bundle, self.reason, self.remedy = bundle, reason, remedy
        super().__init__(f"the bundle {bundle} is refused: {reason}; {remedy}")


class StorageError(TrainingError):
    """A file or directory cannot be written."""

    def __init__(self, path: str, reason: str, remedy: str = "") -> None:
        self.path, self.reason = path, reason
        self.remedy = remedy or "free space there, or choose a directory that this user can write to"
        super().__init__(f"{path} cannot be written: {reason}; {self.remedy}")


class RegistryError(TrainingError):
    """The MLflow registry does not answer, or refuses; `code` is MLflow's own word for why, if it gave one."""

    def __init__(self, registry: str, reason: str, remedy: str = "", code: str = "") -> None:
        self.registry, self.reason, self.code = registry, reason, code
        self.remedy = remedy or "check MLFLOW_TRACKING_URI, the credentials and that the registry runs"
        super().__init__(f"the MLflow registry at {registry} cannot be used: {reason}; {self.remedy}")


class AliasConflictError(TrainingError):
    """An alias is not where whoever moves it expects it; nothing was moved, unless `reason` says so.

    `expected` and `found` are version numbers, None where the alias does not exist.
    """

    exit_code = ExitCode.REFUSED

    def __init__(
        self, model: str, alias: str, *, expected: str | None, found: str | None, reason: str
    ) -> None:
        self.model, self.alias, self.expected, self.found, self.reason = model, alias, expected, found, reason
        where = [f"version {version}" if version else "no version" for version in (expected, found)]
        super().__init__(
            f"the alias {alias} of {model} is expected at {where[0]}, and it is at {where[1]}: {reason}; "
            f"see `python -m training.history --name {model}`, decide which version is right, and move it from there"
        )
