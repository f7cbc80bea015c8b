"""The one table from errors to statuses."""

import inspect
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from inference import errors
from inference.rpc.status import rich_status
from inference.status import failure_of

CASES = [
    (errors.InvalidRequestError([errors.Violation("rows", "wrong")]), "INVALID_ARGUMENT", 400),
    (errors.UnknownModelError("a", "b"), "NOT_FOUND", 404),
    (errors.ModelNotFoundError("models:/a/1", "gone", existing="b", remedy="c"), "NOT_FOUND", 404),
    (errors.NoPreviousModelError(), "FAILED_PRECONDITION", 409),
    (errors.RegistryError("no"), "FAILED_PRECONDITION", 422),
    (errors.BundleError("b", "broken"), "FAILED_PRECONDITION", 422),
    (errors.GateError("iris version 1", "accuracy", 0.5, 0.9), "FAILED_PRECONDITION", 422),
    (errors.OverloadError("concurrency", "busy", 0.1), "RESOURCE_EXHAUSTED", 429),
    (errors.OverloadError("rows", "too many", None), "RESOURCE_EXHAUSTED", 413),
    (errors.NotReadyError("wait"), "UNAVAILABLE", 503),
    (errors.UnauthenticatedError("show a token"), "UNAUTHENTICATED", 401),
    (errors.PermissionDeniedError("off"), "PERMISSION_DENIED", 403),
    (errors.DeadlineError(1.0), "DEADLINE_EXCEEDED", 504),
    (errors.AbandonedError(), "CANCELLED", 499),
    (errors.RegistryUnavailableError("http://r", "down"), "UNAVAILABLE", 503),
    (errors.CacheError("/c", "full"), "INTERNAL", 500),
    (errors.CertificateError(Path("cert.pem"), "no such file"), "INTERNAL", 500),
    (ZeroDivisionError("secret detail"), "INTERNAL", 500),
]


@pytest.mark.parametrize(("error", "code", "http_status"), CASES, ids=lambda value: type(value).__name__)
def test_each_error_has_its_status(error: Exception, code: str, http_status: int) -> None:
    """The same error has the same meaning over gRPC and HTTP."""
    failure = failure_of(error, "r1")
    assert (failure.code.name, failure.http_status) == (code, http_status)


def test_every_error_class_is_in_the_table() -> None:
    """A new error class without a case here is noticed."""
    known = {kind for _, kind in inspect.getmembers(errors, inspect.isclass)}
    leaves = {k for k in known if issubclass(k, errors.InferenceError) and not k.__subclasses__()}
    assert leaves <= {type(error) for error, _, _ in CASES}


def test_a_defect_tells_only_the_request_id() -> None:
    """The text of an error that nobody expected stays in the log."""
    failure = failure_of(ZeroDivisionError("secret detail"), "r1")
    assert "secret" not in failure.sentence
    assert "r1" in failure.sentence


def test_overload_pushes_retries_back() -> None:
    """Clients wait before they try again, and do not try again what can never be taken."""
    busy = dict(
        rich_status(failure_of(errors.OverloadError("concurrency", "b", 0.1), ""), ()).trailing_metadata
    )
    large = dict(rich_status(failure_of(errors.OverloadError("rows", "b", None), ""), ()).trailing_metadata)
    assert busy["grpc-retry-pushback-ms"] == "100"
    assert large["grpc-retry-pushback-ms"] == "-1"


def test_details_fit_trailing_metadata() -> None:
    """However long names and values are, the trailers stay below what clients take (8 KiB)."""
    violations = [errors.Violation(f"rows[{i}]", "ä" * 5000) for i in range(20)]
    status = rich_status(failure_of(errors.InvalidRequestError(violations), "r"), (("x-request-id", "r"),))
    trailers = dict(status.trailing_metadata)
    packed = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    details = error_details_pb2.BadRequest()
    assert packed.details[0].Unpack(details)
    assert details.field_violations[0].field == "rows[0]"
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert sum(len(key) + len(value) for key, value in trailers.items()) + len(status.details) < 8000
