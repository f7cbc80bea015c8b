"""Everything that can go wrong in drift monitoring, without a word about transport.

Each error carries its data as attributes and builds its sentence once: what was asked, what exists, what to
do. `drift.service.web` alone turns them into HTTP statuses; `ExitCode` says how the process ends when one of them
stops it at start.
"""

import enum

__all__ = [
    "DatasetError",
    "DriftError",
    "EvidentlyMissingError",
    "ExitCode",
    "PredictionLogError",
    "ShuttingDownError",
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
    """A location that no source of this version can read. A `ValueError` too, so that settings list it."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        super().__init__(
            f"the scheme {scheme}:// is not supported; a local path and file:// are: "
            "copy the data to a local disk or mount it, and give its path"
        )


class DatasetError(DriftError):
    """A CSV file that cannot be a reference or current dataset.

    `role` is `Reference` or `Current`; `reason` completes the sentence "<role> dataset …".
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


class EvidentlyMissingError(DriftError):
    """Evidently cannot be imported, so that there is nothing to evaluate with."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"Evidently cannot be imported: {reason}; install what drift needs: pip install '.[drift]'"
        )


class ShuttingDownError(DriftError):
    """An evaluation was asked of a monitor that is ending."""

    def __init__(self) -> None:
        super().__init__("the drift monitor is shutting down; ask the next one")
