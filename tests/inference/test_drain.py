"""How a real process ends: every call that it took is answered, every answer has its event, and it ends in time."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.event_pb2 import PredictionEvent
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from protos.oip import open_inference_pb2 as oip
from protos.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.inference.artifacts.faulty_server import FaultyServer

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
SERVICE = "inference.v1.InferenceService"
#: Nothing hides a call that was lost.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
NO_RETRIES = [("grpc.enable_retries", 0), *OWN_CONNECTION]


class Callers:
    """Threads that call one after the other until a call fails; they note what came back."""

    def __init__(self, address: str, count: int, options: list[tuple[str, int]] = NO_RETRIES) -> None:
        self._address = address
        self._options = options
        self.answered: list[str] = []
        self.failed: list[grpc.RpcError] = []
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with grpc.insecure_channel(self._address, self._options) as channel:
            stub = InferenceServiceStub(channel)
            while not self.over.is_set():
                try:
                    self.answered.append(stub.Predict(REQUEST, timeout=10).event_id)
                except grpc.RpcError as error:
                    self.failed.append(error)
                    return

    def join(self) -> None:
        """Wait until each has ended."""
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, count: int) -> None:
        """Wait for so many answers from now on."""
        wanted = len(self.answered) + count
        deadline = time.monotonic() + 20
        while len(self.answered) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _events(process: object) -> list[str]:
    """The identifiers of the prediction events, in the order in which they were written."""
    lines = [json.loads(line) for line in process.lines]
    messages = [line["message"] for line in lines if line["logger"] == "drift-monitoring"]
    return [json_format.Parse(message, PredictionEvent()).event_id for message in messages]


@pytest.mark.slow
def test_a_drain_loses_nothing(make_process: object) -> None:
    """NOT_SERVING first, then the delay in which calls are answered on, then the end: no answer without its event.

    Calls that come too late find the port closed or are refused: UNAVAILABLE, which any client may send again.
    """
    process = make_process(DRAIN_DELAY_SECONDS=1.5)
    ports = process.wait_for("listening")
    process.wait_for("serving")
    address = f"127.0.0.1:{ports['grpc_port']}"
    callers = Callers(address, 4)
    with grpc.insecure_channel(address, NO_RETRIES) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        callers.wait_for(50)
        signalled = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert time.monotonic() - signalled < 1
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        assert httpx.get(f"http://127.0.0.1:{ports['http_port']}/health/ready").status_code == 503
        callers.wait_for(50)
        assert not callers.failed
        assert process.end() == 0
    assert time.monotonic() - signalled > 1.5
    callers.join()
    assert {error.code() for error in callers.failed} == {grpc.StatusCode.UNAVAILABLE}
    events = _events(process)
    assert len(events) == len({*events})
    assert {*callers.answered} <= {*events}
    assert len({*events} - {*callers.answered}) <= len(callers.failed)
    assert json.loads(process.lines[-1])["message"] == "stopped"


@pytest.mark.slow
def test_old_connections_are_closed_gently(make_process: object) -> None:
    """Connections that reach their age are exchanged for new ones, and no call is lost by that.

    A call may cross the server's GOAWAY; gRPC sends it again by itself, since the server never saw it.
    """
    process = make_process(GRPC_MAX_CONNECTION_AGE_SECONDS=1)
    ports = process.wait_for("listening")
    process.wait_for("serving")
    address = f"127.0.0.1:{ports['grpc_port']}"
    callers = Callers(address, 3, OWN_CONNECTION)
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(address, NO_RETRIES) as channel:
        channel.subscribe(states.append)
        for _ in range(3):
            assert InferenceServiceStub(channel).Predict(REQUEST, timeout=10).predictions
            _wait_until_closed(states)
            states.clear()
    callers.over.set()
    callers.join()
    assert not callers.failed
    assert len(callers.answered) > 500


def _wait_until_closed(states: list[grpc.ChannelConnectivity]) -> None:
    """Wait until a channel was connected and then idle again, which is what its server made it."""
    deadline = time.monotonic() + 20
    while states[-1:] != [grpc.ChannelConnectivity.IDLE] or grpc.ChannelConnectivity.READY not in states:
        assert time.monotonic() < deadline, "the connection was never closed"
        time.sleep(0.02)


@pytest.fixture
def registry(bundle: Path) -> Iterator[FaultyServer]:
    """A registry that works, until a test says otherwise."""
    server = FaultyServer()
    server.serve(bundle)
    yield server
    server.close()


def _reload_over_http(ports: dict[str, int]) -> None:
    url = f"http://127.0.0.1:{ports['http_port']}/admin/reload"
    httpx.post(url, headers={"X-Admin-Token": "t"}, timeout=60).raise_for_status()


def _load_over_grpc(ports: dict[str, int]) -> None:
    request = oip.RepositoryModelLoadRequest(model_name="iris")
    with grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}", NO_RETRIES) as channel:
        metadata = (("x-admin-token", "t"),)
        GRPCInferenceServiceStub(channel).RepositoryModelLoad(request, timeout=60, metadata=metadata)


@pytest.mark.slow
@pytest.mark.parametrize("ask", [_reload_over_http, _load_over_grpc])
def test_a_reload_that_hangs_does_not_hold_the_end_up(
    make_process: object, registry: FaultyServer, tmp_path: Path, ask: Callable[[dict[str, int]], None]
) -> None:
    """With a reload that waits for a silent registry the process ends as fast as ever, with 0, its child too."""
    import psutil

    process = make_process(
        MODEL_SOURCE="mlflow",
        MLFLOW_TRACKING_URI=registry.address,
        MODEL_CACHE_DIR=tmp_path,
        ADMIN_API_TOKEN="t",
        SHUTDOWN_GRACE_SECONDS=3,
    )
    ports = process.wait_for("listening")
    process.wait_for("serving", 60)
    asked, over = threading.Event(), threading.Event()

    def hang(_path: str) -> tuple[int, bytes]:
        asked.set()
        over.wait(60)
        return 500, b""

    registry.answer = hang
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(ask, ports)
        assert asked.wait(20)
        children = psutil.Process(process.popen.pid).children(recursive=True)
        assert children
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel:
            assert InferenceServiceStub(channel).Predict(REQUEST, timeout=5).predictions
        signalled = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert process.end(20) == 0
        assert time.monotonic() - signalled < 15
        over.set()
        assert isinstance(reload.exception(), httpx.HTTPError | grpc.RpcError)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.slow
def test_a_caller_that_hangs_is_cut_off(make_process: object) -> None:
    """A request that never comes to its end holds the process up for the grace and not longer."""
    process = make_process(SHUTDOWN_GRACE_SECONDS=1)
    ports = process.wait_for("listening")
    process.wait_for("serving")
    with socket.create_connection(("127.0.0.1", ports["http_port"])) as caller:
        caller.settimeout(10)
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        caller.sendall(head)
        assert caller.recv(1000).startswith(b"HTTP/1.1 100 ")  # now the server waits for the body
        caller.sendall(b"{")
        signalled = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("requests cut off")
        # 1 s of grace, and what the end of a process takes on a busy machine.
        assert process.end(20) == 0
        assert 1 <= time.monotonic() - signalled < 3
