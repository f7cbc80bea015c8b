"""What is let in: requests, bytes in memory, and work that somebody still waits for."""

import dataclasses
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import core
from inference.artifacts import Outputs
from inference.catalog import Catalog, Slot
from inference.core import Admission, DataPlane, PredictCall
from inference.errors import AbandonedError, DeadlineError, OverloadError
from inference.rows import Decoded
from protos.inference.v1 import inference_pb2 as pb
from tests.inference.small_models import FirstClass, generation_of


class _Block:
    """One-feature rows."""

    def __init__(self, rows: int) -> None:
        self.row_count = rows

    def decode(self, column_count: int, kinds: object = ()) -> Decoded:  # noqa: ARG002  # numbers alone
        return Decoded(np.ones((self.row_count, column_count)))

    def place(self, row: int, column: int) -> str:
        return f"rows[{row}][{column}]"


def _plane(max_rows: int = 10) -> DataPlane:
    catalog = Catalog([Slot("m")])
    catalog.switch(catalog.slots[0], generation_of("m", "1"))
    return DataPlane(catalog, [], max_rows=max_rows, admission=Admission(4))


def test_requests_are_counted_in_and_out() -> None:
    """At the limit one more would be too many; a request that was counted in beyond it is itself too many."""
    admission = Admission(2)
    assert not admission.full
    for _ in range(2):
        admission.enter()
    assert (admission.in_flight, admission.full, admission.over) == (2, True, False)
    admission.enter()
    assert admission.over
    for _ in range(3):
        admission.leave()
    assert (admission.in_flight, admission.full) == (0, False)
    refusal = admission.refusal()
    assert (refusal.reason, refusal.retry_after_seconds) == ("concurrency", 0.1)
    assert "MAX_CONCURRENT_REQUESTS" in str(refusal)


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(0, 100))
def test_bytes_never_exceed_the_budget(sizes: list[int], budget: int) -> None:
    """What is kept stays within the budget, a refused size counts nothing, and all is free after the last."""
    admission = Admission(1, budget)
    kept: list[int] = []
    for size in sizes:
        if sum(kept) + size <= budget:
            admission.keep(size)
            kept.append(size)
            continue
        with pytest.raises(OverloadError) as caught:
            admission.keep(size)
        assert caught.value.reason == "bytes"
        assert caught.value.retry_after_seconds is not None
    for size in kept:
        admission.let_go(size)
    admission.keep(budget)


def test_the_budget_holds_under_threads() -> None:
    """Of eight threads that want 30 of 100 at one time exactly three get it, each time, and all of it comes back."""
    admission = Admission(1, 100)
    tried, counted = threading.Barrier(8), threading.Barrier(8)
    winners: list[int] = []

    def work() -> None:
        for turn in range(200):
            try:
                admission.keep(30)
            except OverloadError:
                kept = False
            else:
                kept = True
                winners.append(turn)
            tried.wait(20)  # nobody lets go before all have tried
            if kept:
                admission.let_go(30)
            counted.wait(20)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(winners) == [turn for turn in range(200) for _ in range(3)]
    admission.keep(100)
    with pytest.raises(OverloadError):
        admission.keep(1)


@pytest.mark.parametrize("remaining", [-1.0, 0.0])
def test_a_deadline_that_passed_is_not_worked_for(remaining: float) -> None:
    """Work begins only before the deadline; the error says how long the request waited."""
    with pytest.raises(DeadlineError, match=r"1\.250 seconds of waiting"):
        _plane().check_worth_starting(alive=True, remaining_seconds=remaining, waited_seconds=1.25)


def test_a_caller_who_has_gone_is_not_worked_for() -> None:
    """A call whose caller hung up is abandoned; of a passed deadline the deadline is told first."""
    with pytest.raises(AbandonedError):
        _plane().check_worth_starting(alive=False, remaining_seconds=5, waited_seconds=0)
    with pytest.raises(DeadlineError):
        _plane().check_worth_starting(alive=False, remaining_seconds=0, waited_seconds=0)


def test_a_deadline_below_what_requests_take_is_not_worked_for() -> None:
    """The plane learns how long requests take, and starts none that would be late."""
    plane = _plane()
    plane.check_worth_starting(alive=True, remaining_seconds=1e-6, waited_seconds=0)
    for _ in range(200):
        plane.predict(PredictCall(_Block(1)))
    with pytest.raises(DeadlineError):
        plane.check_worth_starting(alive=True, remaining_seconds=1e-7, waited_seconds=0)
    plane.check_worth_starting(alive=True, remaining_seconds=1, waited_seconds=0)


class _Stalling:
    """Predicts, the first row after as long as it is told."""

    runtime = "fake"

    def __init__(self, clock: "_Clock", seconds: float) -> None:
        self._clock = clock
        self.seconds = seconds

    def predict(self, features: np.ndarray) -> Outputs:
        self._clock.now += self.seconds
        return FirstClass().predict(features)


class _Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        """Tell the time."""
        return self.now

    def time(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def stalling(monkeypatch: pytest.MonkeyPatch) -> tuple[DataPlane, _Stalling]:
    """A plane on a clock of its own, and what makes its requests take time."""
    clock = _Clock()
    monkeypatch.setattr(core, "time", clock)
    predictor = _Stalling(clock, 0.001)
    plane = _plane(max_rows=100_000)
    (slot,) = plane.catalog.slots
    plane.catalog.switch(slot, dataclasses.replace(slot.current, predictor=predictor))
    return plane, predictor


def _is_started(plane: DataPlane, deadline_seconds: float) -> bool:
    try:
        plane.check_worth_starting(alive=True, remaining_seconds=deadline_seconds, waited_seconds=0)
    except DeadlineError:
        return False
    return True


def test_one_stall_does_not_refuse_everybody(stalling: tuple[DataPlane, _Stalling]) -> None:
    """After a single request of 2.2 seconds, callers with 100 ms are still served."""
    plane, predictor = stalling
    for seconds in (*[0.001] * 200, 2.2):
        predictor.seconds = seconds
        plane.predict(PredictCall(_Block(1)))
    assert _is_started(plane, 0.1)


def test_who_was_refused_for_slowness_is_let_in_again(stalling: tuple[DataPlane, _Stalling]) -> None:
    """After a slow time in which no deadline could be met, refusals end by themselves, with no call to learn from."""
    plane, predictor = stalling
    predictor.seconds = 2.2
    for _ in range(200):
        plane.predict(PredictCall(_Block(1)))
    assert not _is_started(plane, 0.1)
    assert any(_is_started(plane, 0.1) for _ in range(100))


def test_large_requests_say_nothing_of_small_ones(stalling: tuple[DataPlane, _Stalling]) -> None:
    """Batches that take seconds leave callers of one row alone."""
    plane, predictor = stalling
    plane.predict(PredictCall(_Block(1)))
    predictor.seconds = 2.2
    for _ in range(200):
        plane.predict(PredictCall(_Block(65_536)))
    assert _is_started(plane, 0.1)


def test_too_many_rows_are_the_callers_own_mistake() -> None:
    """A request beyond MAX_ROWS_PER_REQUEST is refused for good, and leaves its generation unused."""
    plane = _plane(max_rows=10)
    assert len(plane.predict(PredictCall(_Block(10))).outputs.class_index) == 10
    with pytest.raises(OverloadError, match="MAX_ROWS_PER_REQUEST") as caught:
        plane.predict(PredictCall(_Block(11)))
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("rows", None)
    assert plane.serving.in_flight == 0


def _keep_when_free(admission: Admission, size_bytes: int) -> None:
    """Keep the whole budget: everything was given back, which gRPC says a moment after the answer was taken."""
    deadline = time.monotonic() + 10
    while True:
        try:
            admission.keep(size_bytes)
        except OverloadError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


def test_bodies_beyond_the_budget_are_refused_over_http(make_service: object, bundle: Path) -> None:
    """With the memory for messages taken, a body is refused with 429 before it is read, and counted."""
    running = make_service()
    admission = running.service.plane.admission
    taken = 16 * running.service._settings.grpc_max_message_bytes - 100
    admission.keep(taken)
    body = {"rows": [[1, 2, 3, 4]] * 20}
    reply = running.http.post("/predict", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "RESOURCE_EXHAUSTED")
    assert "retry-after" in reply.headers
    assert 'ml_requests_shed_total{reason="bytes"} 1.0' in running.metrics()
    admission.let_go(taken)
    assert running.http.post("/predict", json=body).status_code == 200


def test_large_answers_count_until_they_are_taken(make_service: object) -> None:
    """Answers of 64 KiB and more count as bytes in memory while they are on their way, and no longer."""
    running = make_service()
    admission = running.service.plane.admission
    request = pb.PredictRequest(rows=[pb.Row(values=[1, 2, 3, 4])] * 4000)
    for _ in range(3):
        assert len(running.stub.Predict(request).predictions) == 4000
    taken = 16 * running.service._settings.grpc_max_message_bytes
    _keep_when_free(admission, taken)
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.stub.Predict(pb.PredictRequest(rows=request.rows[:10])).predictions
    admission.let_go(taken)
    assert running.stub.Predict(request).predictions
