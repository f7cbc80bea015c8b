"""A server process that is fed with anything, and what must hold of it whatever it was fed with."""

import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from inference.status import Code
from protos.inference.v1 import inference_pb2
from protos.oip import open_inference_pb2
from tests.inference.conftest import CLASSES, Process
from tests.property.seeds import PREDICT

__all__ = ["INFER", "OTHER_METHODS", "PREDICT_METHOD", "TOKEN", "Server"]

TOKEN: Final = "a-token-of-the-tests"
PREDICT_METHOD: Final = "/inference.v1.InferenceService/Predict"
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
#: Long enough for two busy cores; whoever needs longer hangs.
PATIENCE_SECONDS: Final = 20.0
#: How long an answer may take that is not waited for.
_MOMENT_SECONDS: Final = 0.05
#: What the server may grow by while it is fed; one request is 256 KiB at most.
_MAX_GROWTH_BYTES: Final = 200 * 1024 * 1024
#: A refusal is for a person to read; no caller makes it large.
MAX_REFUSAL_BYTES: Final = 32 * 1024
#: Statuses that are defects, of ours or of what carries us.
DEFECTS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED"})

_SERVICES: Final = (
    inference_pb2.DESCRIPTOR.services_by_name["InferenceService"],
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
)
#: Paths of all methods but those two.
OTHER_METHODS: Final = tuple(
    path
    for service in _SERVICES
    for method in service.methods
    if (path := f"/{service.full_name}/{method.name}") not in {PREDICT_METHOD, INFER}
)
_METHODS: Final = frozenset(
    {method.name for service in _SERVICES for method in service.methods}
    | {"Check", "Watch", "List", "ServerReflectionInfo"}
)
#: Labels whose values are known before any request comes; all others must not change at all.
_KNOWN_VALUES: Final = {
    "method": _METHODS,
    "grpc_method": _METHODS,
    "code": {code.name for code in Code},
    "grpc_code": {code.name for code in Code},
    "label": set(CLASSES),
}


class Server:
    """Clients of one server process, which has started to serve when this is entered."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> "Server":
        ports = self._process.wait_for("serving")
        self.http_port: int = ports["http_port"]
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=PATIENCE_SECONDS)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}")
        for _ in range(20):  # so that what it keeps for good is there before its size is taken
            assert self.call(PREDICT_METHOD, PREDICT[0]) == "OK"
        self._labels = _label_values(self._samples())
        self._resident_bytes = self._resident()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._channel.close()

    def call(self, method: str, data: bytes, metadata: tuple[tuple[str, str | bytes], ...] = ()) -> str:
        """Send any bytes to a method of gRPC and return the name of the status."""
        send = self._channel.unary_unary(method)
        try:
            send(data, metadata=metadata, timeout=PATIENCE_SECONDS)
        except grpc.RpcError as refused:
            code, details = str(refused.code().name), refused.details()
        else:
            return "OK"
        assert code not in DEFECTS, f"{code}: {details}"
        return code

    def post(self, path: str, body: bytes | Iterator[bytes], headers: dict[str, str] | None = None) -> int:
        """Send any body over HTTP and return the status."""
        response = self._http.post(path, content=body, headers=headers)
        assert response.status_code < 500, response.text
        if response.status_code != 200:
            assert len(response.content) <= MAX_REFUSAL_BYTES, len(response.content)
            error = response.json()["error"]
            code = (
                error["code"] if isinstance(error, dict) else ""
            )  # in /v2 it is a sentence, as the protocol has it
            assert code not in DEFECTS, response.text
        return response.status_code

    def exchange(self, data: bytes) -> bytes:
        """Send any bytes to the HTTP port, say that there are no more, and return all that comes back.

        A caller that ends its side at once is taken to have gone, so there is a moment for the answer first.
        """
        with socket.create_connection(("127.0.0.1", self.http_port), PATIENCE_SECONDS) as connection:
            answer = b""
            try:
                connection.sendall(data)
                if select.select([connection], [], [], _MOMENT_SECONDS)[0]:
                    answer = connection.recv(65536)
                connection.shutdown(socket.SHUT_WR)
                while received := connection.recv(65536):
                    answer += received
            except ConnectionError:  # it did not want to read on
                pass
        return answer

    def check(self) -> None:
        """Check that the process lives, is no larger, answers, and neither counted nor logged a defect."""
        assert self._process.popen.poll() is None, self._process.lines[-3:]
        assert self.call(PREDICT_METHOD, PREDICT[0]) == "OK"
        assert self.post("/predict", b'{"rows": [[1, 2, 3, 4]]}') == 200
        self._check_metrics()
        grown = self._resident() - self._resident_bytes
        assert grown < _MAX_GROWTH_BYTES, f"grown by {grown} bytes"
        lines = [json.loads(line) for line in tuple(self._process.lines)]
        loud = [line for line in lines if line["level"] in ("ERROR", "CRITICAL") or "exception" in line]
        assert loud == []

    def _check_metrics(self) -> None:
        samples = self._samples()
        for name, found in _label_values(samples).items():
            assert found <= self._labels.get(name, set()) | _KNOWN_VALUES.get(name, set()), name
        defects = [
            sample
            for sample in samples
            if DEFECTS & {sample.labels.get("code"), sample.labels.get("grpc_code")} and sample.value
        ]
        assert defects == []

    def _samples(self) -> list[Sample]:
        text = self._http.get("/metrics").text
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def _resident(self) -> int:
        status = Path(f"/proc/{self._process.popen.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


def _label_values(samples: list[Sample]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for sample in samples:
        for name, value in sample.labels.items():
            values.setdefault(name, set()).add(value)
    return values
