"""Everything that can go wrong in serving, without a word about transport.

Each error carries its data as attributes and builds its sentence once: what was asked, what exists, what to
do. `inference.status` alone says which status each of them is, of gRPC and of HTTP, and `ExitCode` says how the
process ends when one of them stops it at start.
"""

import enum
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AbandonedError",
    "BundleError",
    "CacheError",
    "CertificateError",
    "DeadlineError",
    "ExitCode",
    "GateError",
    "InferenceError",
    "InvalidRequestError",
    "ModelNotFoundError",
    "NoPreviousModelError",
    "NotReadyError",
    "OverloadError",
    "PermissionDeniedError",
    "RegistryError",
    "RegistryUnavailableError",
    "UnauthenticatedError",
    "UnknownModelError",
    "Violation",
]


class ExitCode(enum.IntEnum):
    """How `python -m inference` ends."""

    OK = 0
    #: The model was found and refused: broken bundle, wrong digest, gate not passed.
    REFUSED = 1
    #: The settings are wrong: a value, a model, an alias or a port that cannot be.
    USAGE = 2
    #: Something outside is missing: registry unreachable, disk full.
    INFRASTRUCTURE = 4


class InferenceError(Exception):
    """Base of all errors of this package."""

    exit_code = ExitCode.INFRASTRUCTURE


class RegistryError(InferenceError):
    """The registry answered, and the answer is no."""

    exit_code = ExitCode.USAGE


class ModelNotFoundError(RegistryError):
    """The model URI names something that the registry does not have.

    `existing` lists what it has instead: model names, versions or aliases.
    """

    def __init__(self, model_uri: str, reason: str, *, existing: str, remedy: str) -> None:
        self.model_uri, self.reason, self.existing, self.remedy = model_uri, reason, existing, remedy
        super().__init__(f"{model_uri} cannot be resolved: {reason}; {existing}; {remedy}")


class RegistryUnavailableError(InferenceError):
    """The registry does not answer, or answers with a defect of its own."""

    def __init__(self, registry: str, reason: str) -> None:
        self.registry, self.reason = registry, reason
        super().__init__(
            f"the registry at {registry} cannot be used: {reason}; "
            "check MLFLOW_TRACKING_URI, the credentials and that the registry runs"
        )


class BundleError(InferenceError):
    """A bundle that must not serve: a file is missing, differs from its digest, or does not load."""

    exit_code = ExitCode.REFUSED

    def __init__(self, bundle: str, reason: str, remedy: str = "register the model again") -> None:
        self.bundle, self.reason, self.remedy = bundle, reason, remedy
        super().__init__(f"the bundle {bundle} is refused: {reason}; {remedy}")


class GateError(InferenceError):
    """A sound bundle whose quality is below what the settings ask for."""

    exit_code = ExitCode.REFUSED

    def __init__(self, model: str, metric: str, found: float | None, wanted: float) -> None:
        self.model, self.metric, self.found, self.wanted = model, metric, found, wanted
        state = f"is {found:.4g}" if found is not None else "is missing from its metrics.json"
        super().__init__(
            f"{model} is refused: its {metric} {state} and at least {wanted:.4g} is asked for "
            "(MODEL_MIN_ACCURACY); train a better model or lower the limit"
        )


class CacheError(InferenceError):
    """The model cache cannot be written or read."""

    def __init__(self, directory: str, reason: str) -> None:
        self.directory, self.reason = directory, reason
        super().__init__(
            f"the model cache {directory} cannot be used: {reason}; "
            "free space there, or set MODEL_CACHE_DIR to a writable directory"
        )


class CertificateError(InferenceError):
    """Certificate, key or authorities of the gRPC server cannot be used as they are."""

    exit_code = ExitCode.USAGE

    def __init__(self, file: Path, reason: str, *, key_file: Path | None = None) -> None:
        self.file, self.reason, self.key_file = file, reason, key_file
        files = f"{file} with {key_file}" if key_file is not None else file
        super().__init__(
            f"{files} cannot be used for TLS: {reason}; "
            "check GRPC_TLS_CERT_FILE, GRPC_TLS_KEY_FILE and GRPC_TLS_CLIENT_CA_FILE"
        )


class NotReadyError(InferenceError):
    """No model is loaded yet, or the server is shutting down."""


class NoPreviousModelError(InferenceError):
    """A rollback was asked for and only one model was ever loaded."""

    def __init__(self) -> None:
        super().__init__("there is no previous model to roll back to; reload with a model_uri instead")


class UnknownModelError(InferenceError):
    """A request names a model or version that this server does not hold."""

    def __init__(self, asked: str, held: str) -> None:
        self.asked, self.held = asked, held
        super().__init__(f"model {asked} is not served here; this server holds {held}")


class UnauthenticatedError(InferenceError):
    """A request shows no token, or a wrong one."""


class PermissionDeniedError(InferenceError):
    """A request asks for something that nobody may do on this server."""


class DeadlineError(InferenceError):
    """A request whose deadline passed, or would pass before its answer; it was not started."""

    def __init__(self, waited_seconds: float) -> None:
        self.waited_seconds = waited_seconds
        super().__init__(
            f"not started: its deadline cannot be met any more after {waited_seconds:.3f} seconds of waiting"
        )


class AbandonedError(InferenceError):
    """A request whose caller has gone; it was not started."""

    def __init__(self) -> None:
        super().__init__("not started: the caller has gone")


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one place of a request.

    `field` is a path such as `rows[3].values[1]`; `description` says what was found and what is expected.
    """

    field: str
    description: str


class InvalidRequestError(InferenceError):
    """A request whose shape or values the model cannot take; `violations` says where."""

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}")


class OverloadError(InferenceError):
    """More than the server takes: rows in one request, or calls at one time."""

    def __init__(self, reason: str, sentence: str, retry_after_seconds: float | None) -> None:
        self.reason, self.retry_after_seconds = reason, retry_after_seconds
        super().__init__(sentence)
