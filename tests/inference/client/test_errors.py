"""What callers catch."""

import pickle

import grpc
import pytest

from inference import client
from inference.client import InvalidRequestError, OverloadError, PredictionError, Violation

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CODE.INVALID_ARGUMENT, client.InvalidRequestError),
        (CODE.UNAVAILABLE, client.UnavailableError),
        (CODE.DEADLINE_EXCEEDED, client.DeadlineExceededError),
        (CODE.RESOURCE_EXHAUSTED, client.OverloadError),
        (CODE.NOT_FOUND, client.NotFoundError),
        (CODE.UNAUTHENTICATED, client.UnauthenticatedError),
        (CODE.PERMISSION_DENIED, client.UnauthenticatedError),
        (CODE.INTERNAL, client.ServerDefectError),
        (CODE.UNKNOWN, client.ServerDefectError),
        (CODE.UNIMPLEMENTED, PredictionError),
        (CODE.FAILED_PRECONDITION, PredictionError),
    ],
)
def test_each_status_has_its_class(serve: object, ask: object, code: grpc.StatusCode, kind: type) -> None:
    """Code, sentence and request id are data, and gRPC's own error is the cause."""
    backend = serve(*[code] * 4)
    with pytest.raises(PredictionError) as caught:
        ask(backend.address, "predict", [[1.0]], request_id="r-1")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.request_id) == (code, "r-1")
    assert str(error).endswith("(request id r-1)")
    assert isinstance(error.__cause__, grpc.RpcError)
    assert error.__cause__.code() is code


@pytest.mark.parametrize("bytes_", [b"\xff\xff", b""])
def test_details_that_cannot_be_read_are_no_second_error(serve: object, ask: object, bytes_: bytes) -> None:
    """A proxy's garbage in the details leaves the status as it is."""
    backend = serve((CODE.INVALID_ARGUMENT, (("grpc-status-details-bin", bytes_),)))
    with pytest.raises(InvalidRequestError, match="as the script says") as caught:
        ask(backend.address, "predict", [[1.0]])
    assert caught.value.violations == ()


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError.of([Violation("rows[0]", "found 1 values, expected 4", 0)], "r"),
        OverloadError(CODE.RESOURCE_EXHAUSTED, "busy", "r", 0.1),
        client.UnavailableError(CODE.UNAVAILABLE, "down", "r"),
    ],
)
def test_errors_come_back_from_worker_processes(error: PredictionError) -> None:
    """Pickling keeps the class and everything in it."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)


def test_a_refusal_by_the_real_server_names_row_and_column(running: object, ask: object) -> None:
    """Violations are the server's, with the row and column that they mean, in every form."""
    import numpy as np

    row = [1.0, 2.0, 3.0, 4.0]
    wrong = [row, [1.0, float("nan"), 3.0, 4.0]]
    for rows in (wrong, np.array(wrong), np.array(wrong) + 1e-9):
        with pytest.raises(InvalidRequestError) as caught:
            ask(running.address, "predict", rows)
        (violation,) = caught.value.violations
        assert (violation.row, violation.column) == (1, 1)
        assert "feature sepal_width" in violation.description
        assert str(caught.value).startswith("row 1, column 1: found nan, expected a finite number")


def test_other_models_are_not_found(running: object, ask: object) -> None:
    """Name and version of the caller's choice are sent with both calls."""
    for method, arguments in (("predict", [[[1.0, 2.0, 3.0, 4.0]]]), ("get_model", [])):
        for asked in ({"model_name": "wine"}, {"model_version": "99"}):
            with pytest.raises(client.NotFoundError, match="holds iris"):
                ask(running.address, method, *arguments, **asked)
        ask(running.address, method, *arguments, model_name="iris", model_version="local")


def test_overload_of_a_real_server_that_will_never_fit(make_service: object, ask: object) -> None:
    """Too many rows in one request: no delay is named, because none would help."""
    running = make_service(max_rows_per_request=10)
    with pytest.raises(OverloadError, match="MAX_ROWS_PER_REQUEST") as caught:
        ask(running.address, "predict", [[1.0] * 4] * 11)
    assert caught.value.retry_after_seconds is None


def test_nobody_at_the_address(ask: object) -> None:
    """A port where nothing listens is UNAVAILABLE, in a sentence that names it."""
    import socket

    with socket.socket() as taken:  # bound and not listening: nobody else can take it meanwhile
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(client.UnavailableError, match=str(port)):
            ask(f"127.0.0.1:{port}", "predict", [[1.0]], deadline_seconds=5)
