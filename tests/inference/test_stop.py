"""How a server stops in one process: requests of both transports have the grace, and nothing outlives it."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.inference.small_models import gate

BODY = {"rows": [[5.1, 3.5, 1.4, 0.2]]}


def _wait_for_in_flight(running: object, count: int) -> None:
    deadline = time.monotonic() + 5
    while running.service.plane.admission.in_flight < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _post(running: object) -> httpx.Response:
    with httpx.Client(base_url=running.http.base_url, timeout=30) as caller:
        return caller.post("/predict", json=BODY)


@pytest.mark.slow
def test_a_stop_waits_for_requests_over_http_for_as_long_as_the_grace(make_service: object) -> None:
    """A request that takes longer than five seconds and less than the grace is answered, and the stop says so."""
    running = make_service()
    gated = gate(running)
    with ThreadPoolExecutor(2) as pool:
        reply = pool.submit(_post, running)
        _wait_for_in_flight(running, 1)
        stopped = pool.submit(running.service.stop, 20)
        time.sleep(6)
        assert not stopped.done()
        gated.go.set()
        assert stopped.result()
        assert reply.result().status_code == 200


@pytest.mark.slow
def test_a_server_that_has_just_no_model_drains(make_process: object) -> None:
    """Whoever was served before the last model was unloaded has the time of a drain too."""
    process = make_process(ADMIN_API_TOKEN="t")
    ports = process.wait_for("listening")
    process.wait_for("serving")
    with httpx.Client(base_url=f"http://127.0.0.1:{ports['http_port']}", timeout=30) as http:
        unload = http.post("/v2/repository/models/iris/unload", headers={"X-Admin-Token": "t"})
        assert unload.status_code == 200
        assert http.get("/health/ready").status_code == 503
    process.popen.terminate()
    process.wait_for("draining")
    assert process.end() == 0


def test_requests_over_http_are_cut_off_after_the_grace(make_service: object) -> None:
    """One that takes longer is cut off, the caller of `stop` learns it, and no five seconds are added."""
    running = make_service()
    gated = gate(running)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(_post, running)
        _wait_for_in_flight(running, 1)
        began = time.monotonic()
        assert not running.service.stop(1.0)
        assert time.monotonic() - began < 4
        gated.go.set()
        assert reply.result().status_code == 500
