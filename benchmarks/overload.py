"""Overload: what the server does when more comes than it can do, and how soon it is itself again.

python -m benchmarks.overload [--json DIR]

Floods, one after the other on one server: callers (many more than it takes), 16 MiB messages, readers that do not
read their answers, over gRPC and over HTTP, and connections. For each: what callers were told, how long a refusal
took, resident memory before, at its height and after, and how long until a single call is answered again.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from benchmarks.bundles import train
from benchmarks.report import say, table, write
from benchmarks.targets import OURS, Running, running
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

_SMALL: Final = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
_LIMIT: Final = 64
#: Columns that make a request as large as a message may be, and wrong only once it has been read.
_LARGE: Final = pb.PredictRequest(
    tensor=pb.RowTensor(row_count=1000, column_count=4, float32_values=bytes(16 * 1024 * 1024 - 1024))
).SerializeToString()
_MANY_ROWS: Final = pb.PredictRequest(
    tensor=pb.RowTensor(
        row_count=65536,
        column_count=4,
        float32_values=np.tile(np.float32([5.1, 3.5, 1.4, 0.2]), (65536, 1)).tobytes(),
    )
)
_MANY_JSON: Final = b'{"rows":[' + b",".join([b"[5.1,3.5,1.4,0.2]"] * 65536) + b"]}"
_UNREAD_SECONDS: Final = 3
_PREDICT: Final = "/inference.v1.InferenceService/Predict"
_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


@dataclass(frozen=True)
class Flood:
    """What one flood came to."""

    name: str
    told: dict[str, int]
    refusal_p99_ms: float
    before_mb: float
    height_mb: float
    after_mb: float
    recovery_seconds: float


def main() -> int:
    """Flood and show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bundle = train(Path(directory))
        with running(OURS, bundle, MAX_CONCURRENT_REQUESTS=str(_LIMIT)) as server:
            floods = [
                _flood("512 callers of 1 row", server, _callers),
                _flood("128 messages of 16 MiB", server, _large_messages),
                _flood("the same again", server, _large_messages),
                _flood("64 answers of 65,536 rows that nobody reads for 3 s", server, _slow_readers),
                _flood("the same over HTTP", server, _slow_http_readers),
                _flood("1,000 connections", server, _connections),
            ]
    head = [
        "flood",
        "callers were told",
        "p99 of a refusal ms",
        "RSS MB before / height / after",
        "recovery s",
    ]
    rows = [
        [
            flood.name,
            ", ".join(f"{code} {count}" for code, count in sorted(flood.told.items())),
            f"{flood.refusal_p99_ms:.0f}",
            f"{flood.before_mb:.0f} / {flood.height_mb:.0f} / {flood.after_mb:.0f}",
            f"{flood.recovery_seconds:.3f}",
        ]
        for flood in floods
    ]
    say(table(head, rows))
    write(options.json, "overload", [vars(flood) for flood in floods])
    return 0


class _Told:
    """What callers were told, and when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.codes: Counter[str] = Counter()
        self.refusals: list[float] = []

    def note(self, code: str, seconds: float) -> None:
        with self._lock:
            self.codes[code] += 1
            if code == "RESOURCE_EXHAUSTED":
                self.refusals.append(seconds * 1000)


def _flood(name: str, server: Running, pour: Callable[[Running, _Told], None]) -> Flood:
    before, told, stop = server.memory(), _Told(), threading.Event()
    heights = [before]

    def watch() -> None:
        while not stop.wait(0.02):
            heights.append(server.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        pour(server, told)
        began = time.perf_counter()
        with grpc.insecure_channel(_address(server), options=_OPTIONS) as channel:
            InferenceServiceStub(channel).Predict(_SMALL, timeout=30, wait_for_ready=True)
        recovery = time.perf_counter() - began
    finally:
        stop.set()
        watcher.join()
    refusals = sorted(told.refusals) or [0.0]
    p99 = refusals[int(len(refusals) * 0.99)]
    return Flood(name, dict(told.codes), p99, before, max(heights), server.memory(), recovery)


def _address(server: Running) -> str:
    return f"127.0.0.1:{server.grpc_port}"


def _ask(channel: grpc.Channel, request: bytes, told: _Told, timeout_seconds: float = 60) -> None:
    began = time.perf_counter()
    code = "OK"
    try:
        channel.unary_unary(_PREDICT)(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        code = error.code().name
    told.note(code, time.perf_counter() - began)


def _pour(server: Running, told: _Told, *, callers: int, calls: int, channels: int, request: bytes) -> None:
    with ExitStack() as stack:
        opened = [
            stack.enter_context(grpc.insecure_channel(_address(server), options=_OPTIONS))
            for _ in range(channels)
        ]

        def loop(number: int) -> None:
            for _ in range(calls):
                _ask(opened[number % channels], request, told)

        threads = [threading.Thread(target=loop, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _callers(server: Running, told: _Told) -> None:
    _pour(server, told, callers=512, calls=20, channels=16, request=_SMALL.SerializeToString())


def _large_messages(server: Running, told: _Told) -> None:
    _pour(server, told, callers=32, calls=4, channels=8, request=_LARGE)


def _slow_readers(server: Running, told: _Told) -> None:
    """Ask for large answers over connections whose other end stops reading, then read on."""
    request = _MANY_ROWS.SerializeToString()
    with ExitStack() as stack:
        channels = [
            stack.enter_context(
                grpc.insecure_channel(
                    _address(server), options=[*_OPTIONS, ("grpc.http2.lookahead_bytes", 1024)]
                )
            )
            for _ in range(64)
        ]
        # A stream takes its answer only when it is asked for the next message.
        calls = [channel.unary_stream(_PREDICT)(request, timeout=60) for channel in channels]
        time.sleep(_UNREAD_SECONDS)
        for call in calls:
            began = time.perf_counter()
            code = "OK"
            try:
                for _ in call:
                    pass
            except grpc.RpcError as error:
                code = error.code().name
            told.note(code, time.perf_counter() - began)


def _slow_http_readers(server: Running, told: _Told) -> None:
    """Ask for large answers over HTTP, all at one time, read nothing of them for a while, then read on."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(_MANY_JSON)}\r\n\r\n"
    )
    with ExitStack() as stack:
        callers = []
        for _ in range(64):
            caller = stack.enter_context(socket.socket())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect(("127.0.0.1", server.http_port))
            caller.settimeout(60)
            callers.append(caller)
        with ThreadPoolExecutor(64) as pool:
            [*pool.map(lambda caller: caller.sendall(head.encode() + _MANY_JSON), callers)]
        time.sleep(_UNREAD_SECONDS)
        for caller in callers:
            began = time.perf_counter()
            received = bytearray()
            while piece := caller.recv(1 << 20):
                received += piece
            told.note(f"HTTP {bytes(received[9:12]).decode() or 'nothing'}", time.perf_counter() - began)


def _connections(server: Running, told: _Told) -> None:
    with ExitStack() as stack:
        for _ in range(1000):
            channel = stack.enter_context(grpc.insecure_channel(_address(server), options=_OPTIONS))
            _ask(channel, _SMALL.SerializeToString(), told)


if __name__ == "__main__":
    sys.exit(main())
