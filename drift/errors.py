"""Everything that can go wrong in drift monitoring, without a word about transport.

Each error carries its data as attributes and builds its sentence once: what was asked, what exists, what to
do. `drift.service.web` alone turns them into HTTP statuses; `ExitCode` says how the process ends when one of them
stops it at start.
"""

import enum
from collections.abc import Sequence

__all__ = [
    "DatasetError",
    "DriftError",
    "ExitCode",
    "HistoryError",
    "HistoryRequestError",
    "LokiError",
    "PredictionLogError",
    "ReportError",
    "ShuttingDownError",
    "UnfitMethodError",
    "UnreadableObjectError",
    "UnsupportedLocationError",
]


class ExitCode(enum.IntEnum):
    """How `python -m drift` ends."""

    OK = 0
    #: The settings are wrong: a value, a reference dataset or an address that cannot be.
    USAGE = 2


class DriftError(Exception):
    """Base of all errors of this package."""


class UnsupportedLocationError(DriftError, ValueError):
    """A location that cannot be read. A `ValueError` too, so that settings list it.

    `location` is as people may see it; `reason` completes the sentence "<location> …".
    """

    def __init__(self, location: str, reason: str, remedy: str) -> None:
        self.location, self.reason, self.remedy = location, reason, remedy
        super().__init__(f"{location} {reason}; {remedy}")


class DatasetError(DriftError):
    """A table that cannot be a reference, current rows or labels.

    `role` is `Reference`, `Current` or `Labels`; `reason` completes the sentence "<role> dataset …".
    """

    def __init__(self, role: str, path: str, reason: str, remedy: str) -> None:
        self.role, self.path, self.reason, self.remedy = role, path, reason, remedy
        super().__init__(f"{role} dataset {reason}: {path}; {remedy}")


class PredictionLogError(DriftError):
    """The prediction log cannot be read now."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"the prediction log {path} cannot be read: {reason}; "
            "check CURRENT_DATASET_URI and that the inference server writes there"
        )


class ShuttingDownError(DriftError):
    """An evaluation was asked of a monitor that is ending."""

    def __init__(self) -> None:
        super().__init__("the drift monitor is shutting down; ask the next one")


class HistoryError(DriftError):
    """The history cannot be read or written now."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"the history {path} cannot be used: {reason}; free space there, give this user the right to write, "
            "or set DRIFT_STATE_DIR to another directory"
        )


class HistoryRequestError(DriftError):
    """A part of the history was asked for in a way that it cannot be given."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        self.parameter, self.value, self.allowed = parameter, value, allowed
        super().__init__(f"{parameter} is {value!r}, which it cannot be; {allowed}")


class UnreadableObjectError(DriftError):
    """A file or an object of a store that cannot be read now. `missing` tells that there is none.

    `location` is as people may see it; `reason` completes the sentence "<location> …".
    """

    def __init__(self, location: str, reason: str, remedy: str, *, missing: bool = False) -> None:
        self.location, self.reason, self.remedy, self.missing = location, reason, remedy, missing
        super().__init__(f"{location} {reason}; {remedy}")


class UnfitMethodError(DriftError):
    """A method was chosen for a column that it cannot be for; `allowed` are the methods or columns that could."""

    def __init__(self, column: str, reason: str, allowed: Sequence[str]) -> None:
        self.column, self.reason, self.allowed = column, reason, tuple(allowed)
        more = ", …" if len(self.allowed) > 20 else ""
        super().__init__(
            f"DRIFT_METHODS names {column}: {reason}; choose among {', '.join(self.allowed[:20])}{more}"
        )


class ReportError(DriftError):
    """Evidently's report could not be drawn."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"Evidently's report could not be drawn: {reason}; the metrics and the alarm do not depend on it, "
            "and it is drawn again when somebody asks for it"
        )


class LokiError(DriftError):
    """Loki cannot be read now. `address` and `reason` have no secret; `status` is its HTTP status, if it gave one."""

    def __init__(self, address: str, reason: str, remedy: str, *, status: int | None = None) -> None:
        self.address, self.reason, self.remedy, self.status = address, reason, remedy, status
        super().__init__(f"Loki at {address} {reason}; {remedy}")
