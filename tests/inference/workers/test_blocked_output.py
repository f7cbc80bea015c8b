"""Standard output that nobody reads."""

import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.inference.server_process import server_environment, wait_until_ready

pytestmark = pytest.mark.slow

#: As many as one request may have. Of such calls a queue of 8 million numbers holds 15.
ROWS = 65_536
CALLS = 150
DROPPED = 'ml_prediction_events_total{outcome="dropped"}'


def test_an_unread_standard_output_stops_no_worker(bundle: Path, unused_ports: tuple[int, int]) -> None:
    """With a full pipe requests are answered, the workers drop and count events, and the server still ends."""
    grpc_port, http_port = unused_ports
    environment = server_environment(bundle, SERVER_WORKERS=2, GRPC_PORT=grpc_port, HTTP_PORT=http_port)
    process = subprocess.Popen([sys.executable, "-m", "inference"], env=environment, stdout=subprocess.PIPE)
    try:
        address = f"http://127.0.0.1:{http_port}"
        wait_until_ready(address)
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub = InferenceServiceStub(channel)
            tensor = pb.RowTensor(row_count=ROWS, column_count=4, float32_values=bytes(ROWS * 4 * 4))
            request = pb.PredictRequest(tensor=tensor)
            for _ in range(CALLS):
                stub.Predict(request, timeout=20)
        text = httpx.get(f"{address}/metrics", timeout=20).text
        assert f'ml_request_count_total{{code="OK",method="Predict",track="stable"}} {CALLS}.0' in text
        dropped = next(line for line in text.splitlines() if DROPPED in line)
        assert float(dropped.rpartition(" ")[2]) > 0
        process.terminate()
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
