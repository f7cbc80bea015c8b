"""Which failures are tried again, by both clients, against a real server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from inference.client import (
    DeadlineExceededError,
    OverloadError,
    PredictionClient,
    PredictionError,
    RetryPolicy,
    UnavailableError,
)

ROWS = [[5.0, 6.0], [1.0, 2.0]]
CODE = grpc.StatusCode
SOON = RetryPolicy(first_backoff_seconds=0.001)


def _pushback(code: grpc.StatusCode, text: str) -> object:
    return (code, (("grpc-retry-pushback-ms", text),))


def _retry_info(seconds: float) -> object:
    status = status_pb2.Status(code=CODE.RESOURCE_EXHAUSTED.value[0], message="as the script says")
    status.details.add().Pack(
        error_details_pb2.RetryInfo(retry_delay=Duration(nanos=round(seconds * 1_000_000_000)))
    )
    return (CODE.RESOURCE_EXHAUSTED, (("grpc-status-details-bin", status.SerializeToString()),))


@pytest.mark.parametrize(
    "step",
    [
        CODE.UNAVAILABLE,
        _pushback(CODE.UNAVAILABLE, "0"),
        _pushback(CODE.RESOURCE_EXHAUSTED, "10"),
        _retry_info(0.01),
    ],
)
def test_a_refusal_that_may_pass_is_tried_again(serve: object, ask: object, step: object) -> None:
    """The second attempt is answered, and the caller sees nothing of the first."""
    backend = serve(step)
    assert ask(backend.address, "predict", ROWS, client={"retry": SOON}).labels == ("high", "low")
    assert len(backend.seen) == 2


def test_every_attempt_has_the_same_request_id(serve: object, ask: object) -> None:
    """One call is one id in the server's log, whether the caller chose it or not."""
    for request_id in ("mine", ""):
        backend = serve(CODE.UNAVAILABLE, CODE.UNAVAILABLE)
        result = ask(backend.address, "predict", ROWS, request_id=request_id, client={"retry": SOON})
        ids = [seen.metadata["x-request-id"] for seen in backend.seen]
        assert len(ids) == 3
        assert set(ids) == {result.request_id} == {request_id or ids[0]}


@pytest.mark.parametrize("step", [_pushback(CODE.RESOURCE_EXHAUSTED, "300"), _retry_info(0.3)])
def test_the_server_says_when(serve: object, ask: object, step: object) -> None:
    """No attempt comes sooner than the server asked for, by header or by RetryInfo."""
    backend = serve(step)
    ask(backend.address, "predict", ROWS, client={"retry": SOON})
    first, second = (seen.at for seen in backend.seen)
    assert second - first >= 0.29


@pytest.mark.parametrize(
    "step",
    [
        _pushback(CODE.UNAVAILABLE, "-1"),
        _pushback(CODE.UNAVAILABLE, "soon"),
        _pushback(CODE.RESOURCE_EXHAUSTED, "-1"),
        CODE.RESOURCE_EXHAUSTED,
        CODE.INVALID_ARGUMENT,
        CODE.NOT_FOUND,
        CODE.INTERNAL,
        CODE.UNKNOWN,
        CODE.ABORTED,
        CODE.UNAUTHENTICATED,
        _pushback(CODE.INTERNAL, "0"),
    ],
)
def test_a_refusal_for_good_is_asked_once(serve: object, ask: object, step: object) -> None:
    """Whatever would come again, or may be a defect, ends the call at the first attempt."""
    backend = serve(step)
    with pytest.raises(PredictionError) as caught:
        ask(backend.address, "predict", ROWS, client={"retry": SOON})
    assert caught.value.code is (step[0] if isinstance(step, tuple) else step)
    assert len(backend.seen) == 1


def test_a_message_that_is_too_large_is_sent_once(serve: object, ask: object) -> None:
    """gRPC's own refusal has no pushback: the same message would be refused again."""
    backend = serve(options=(("grpc.max_receive_message_length", 1000),))
    with pytest.raises(OverloadError) as caught:
        ask(backend.address, "predict", [[1.0] * 4] * 100)
    assert caught.value.retry_after_seconds is None
    assert backend.arrivals.count == 1


def test_attempts_are_limited(serve: object, ask: object) -> None:
    """A server that stays down is asked `max_attempts` times."""
    backend = serve(*[CODE.UNAVAILABLE] * 9)
    with pytest.raises(UnavailableError):
        ask(backend.address, "predict", ROWS, client={"retry": SOON})
    assert len(backend.seen) == SOON.max_attempts
    once = serve(CODE.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        ask(once.address, "predict", ROWS, client={"retry": RetryPolicy(max_attempts=1)})
    assert len(once.seen) == 1


def test_the_deadline_is_of_all_attempts_together(serve: object, ask: object) -> None:
    """Each attempt has what the earlier ones left, and the call ends within the caller's time."""
    backend = serve(*[_pushback(CODE.UNAVAILABLE, "50")] * 1000)
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        ask(
            backend.address,
            "predict",
            ROWS,
            deadline_seconds=0.5,
            client={"retry": RetryPolicy(max_attempts=1000)},
        )
    assert time.monotonic() - began < 1.5  # 0.5 s of calls, the rest for channel and event loop
    left = [seen.remaining_seconds for seen in backend.seen]
    assert 1 < len(left) < 11
    assert left == sorted(left, reverse=True)
    assert left[0] <= 0.55
    assert left[0] - left[-1] >= 0.05 * (len(left) - 1) * 0.9


def test_a_server_that_hangs_costs_no_more_than_the_deadline(serve: object, ask: object) -> None:
    """Without an answer the call ends with the deadline, and says how it went before."""
    backend = serve(CODE.UNAVAILABLE)
    backend.gate = threading.Event()
    with pytest.raises(
        DeadlineExceededError, match=r"within 0\.3 s; before that it said 'as the script"
    ) as caught:
        ask(backend.address, "predict", ROWS, deadline_seconds=0.3, client={"retry": SOON})
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(backend.seen) == 2


def test_the_servers_own_reason_for_a_deadline_is_kept(serve: object, ask: object) -> None:
    """A server that does not start what would be late says so, and its sentence reaches the caller."""
    backend = serve(CODE.DEADLINE_EXCEEDED)
    with pytest.raises(DeadlineExceededError, match=r"gave no answer within 20 s: as the script says \("):
        ask(backend.address, "predict", ROWS, deadline_seconds=20)


def test_a_pushback_beyond_the_deadline_is_told_at_once(serve: object, ask: object) -> None:
    """Who cannot wait so long learns of the overload, and how long it would be, before the deadline."""
    backend = serve(_pushback(CODE.RESOURCE_EXHAUSTED, "30000"))
    with pytest.raises(OverloadError) as caught:
        ask(backend.address, "predict", ROWS, deadline_seconds=20)
    assert caught.value.retry_after_seconds == 30
    assert len(backend.seen) == 1


def test_a_description_is_tried_again_too(serve: object, ask: object) -> None:
    """GetModel is as harmless as Predict."""
    backend = serve(CODE.UNAVAILABLE)
    assert ask(backend.address, "get_model", client={"retry": SOON}).model_version == "7"


def test_a_real_server_that_starts_is_waited_for(make_service: object, ask: object) -> None:
    """A call that comes before the model is answered when the model is there."""
    running = make_service(load=False)
    loading = threading.Thread(target=running.service.load)
    patient = RetryPolicy(max_attempts=1000, max_backoff_seconds=0.1)
    loading.start()
    result = ask(
        running.address, "predict", [[5.1, 3.5, 1.4, 0.2]], deadline_seconds=20, client={"retry": patient}
    )
    assert result.labels == ("setosa",)
    loading.join()


def test_a_real_server_under_load_answers_everybody_in_the_end(make_service: object) -> None:
    """Calls that it sheds come back when it says, and none fails."""
    running = make_service(max_concurrent_requests=1)
    rows = [[5.1, 3.5, 1.4, 0.2]] * 3000
    patient = RetryPolicy(max_attempts=1000)
    with PredictionClient(running.address, retry=patient) as client, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.predict, rows, deadline_seconds=60) for _ in range(24)]
        assert all(len(call.result()) == 3000 for call in calls)
    shed = next(
        line for line in running.metrics() if line.startswith('ml_requests_shed_total{reason="concurrency"}')
    )
    assert float(shed.split()[-1]) > 0


@given(st.integers(1, 2000))
def test_delays_are_spread_and_bounded(failures: int) -> None:
    """object delay is between 0 and twice the one before, never above the longest."""
    policy = RetryPolicy(first_backoff_seconds=0.1, max_backoff_seconds=2)
    assert 0 <= policy.delay_seconds(failures) <= min(2, 0.1 * 2.0 ** min(failures - 1, 99))


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_call_has_a_deadline(serve: object, ask: object, timeout: float) -> None:
    """No call may wait for ever."""
    with pytest.raises(ValueError, match="deadline_seconds"):
        ask(serve().address, "predict", ROWS, deadline_seconds=timeout)
    with pytest.raises(ValueError, match="at least 1 attempt"):
        RetryPolicy(max_attempts=0)
