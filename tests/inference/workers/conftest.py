"""Servers with two workers as whole processes, and callers that each have a connection of their own."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

ROW = [5.1, 3.5, 1.4, 0.2]
REQUEST = pb.PredictRequest(rows=[pb.Row(values=ROW)])
#: Without it all channels of this process would share one connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Fleet:
    """A server with workers, and how to look into it."""

    process: Any
    grpc_port: int
    http_port: int
    #: Every worker process that was ever looked at.
    seen: list[psutil.Process]

    def get(self, path: str) -> httpx.Response:
        """Ask the gateway."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=20)

    def post(self, path: str) -> httpx.Response:
        """Ask the gateway for a change."""
        return httpx.post(
            f"http://127.0.0.1:{self.http_port}{path}", headers={"X-Admin-Token": "t"}, timeout=60
        )

    def workers(self) -> list[dict[str, Any]]:
        """What /health says of the workers."""
        return list(self.get("/health").json()["workers"])

    def pids(self) -> list[int]:
        """The worker processes."""
        found = [worker["pid"] for worker in self.workers()]
        self.seen += [psutil.Process(pid) for pid in found if pid is not None and psutil.pid_exists(pid)]
        return found

    def connections(self) -> list[int]:
        """How many connections each worker has."""
        return [
            sum(
                connection.laddr.port == self.grpc_port and connection.status == psutil.CONN_ESTABLISHED
                for connection in psutil.Process(pid).net_connections("tcp")
            )
            for pid in self.pids()
        ]

    def counters(self) -> dict[tuple[str, Any], float]:
        """Every value that may never go back."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            # The CPU time of a process begins anew with it, as everywhere in Prometheus.
            if family.type in ("counter", "histogram") and "cpu_seconds" not in family.name
            for sample in family.samples
        }

    def answered(self) -> float:
        """Calls of Predict that ended well, as /metrics has them."""
        labels = (("code", "OK"), ("method", "Predict"), ("track", "stable"))
        return self.counters()["ml_request_count_total", labels]

    def channel(self) -> grpc.Channel:
        """A connection of its own."""
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", OWN_CONNECTION)

    def until(self, true: Callable[[], object], timeout_seconds: float = 20.0) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + timeout_seconds
        while not true():
            assert time.monotonic() < deadline, self.workers()
            time.sleep(0.05)


@pytest.fixture
def no_orphans() -> Iterator[list[psutil.Process]]:
    """Whatever becomes of a server, no worker of it is left a moment later."""
    seen: list[psutil.Process] = []
    yield seen
    _, alive = psutil.wait_procs(seen, timeout=5)
    assert not alive


@pytest.fixture
def make_fleet(no_orphans: list[psutil.Process], make_process: Callable[..., Any]) -> Callable[..., Fleet]:
    """Start a server with two workers and wait until it serves; options are variables."""

    def make(**variables: object) -> Fleet:
        process = make_process(**{"SERVER_WORKERS": 2, "ADMIN_API_TOKEN": "t", **variables})
        listening = process.wait_for("listening")
        process.wait_for("serving")
        return Fleet(process, listening["grpc_port"], listening["http_port"], no_orphans)

    return make


@dataclass
class Caller:
    """What one caller saw."""

    #: Digests of the models that answered.
    answers: list[str] = field(default_factory=list)
    errors: list[grpc.StatusCode] = field(default_factory=list)


class Load:
    """Callers in closed loops, each on a connection of its own, from entering to leaving the context."""

    def __init__(self, fleet: Fleet, callers: int) -> None:
        self.callers = [Caller() for _ in range(callers)]
        self._fleet = fleet
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(caller,)) for caller in self.callers]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self._fleet.until(lambda: all(caller.answers for caller in self.callers))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """Calls that were answered."""
        return sum(len(caller.answers) for caller in self.callers)

    @property
    def errors(self) -> list[grpc.StatusCode]:
        """What every failed call ended with."""
        return [code for caller in self.callers for code in caller.errors]

    def _call(self, caller: Caller) -> None:
        with self._fleet.channel() as channel:
            stub = InferenceServiceStub(channel)
            while not self._stop.is_set():
                try:
                    answer = stub.Predict(REQUEST, timeout=10, wait_for_ready=True)
                except grpc.RpcError as error:
                    caller.errors.append(error.code())
                    continue
                caller.answers.append(answer.model_digest)


@pytest.fixture
def make_load() -> Callable[..., Load]:
    """Make callers."""
    return lambda fleet, callers=8: Load(fleet, callers)


@pytest.fixture
def unused_ports() -> tuple[int, int]:
    """Two ports that nobody had a moment ago, for servers whose own word for them cannot be read."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
