"""The limit: a synchronous grpcio server that answers Predict with an empty message and does nothing else."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

#: What measured best for the empty server too, on one core.
THREADS = 8


class Empty(InferenceServiceServicer):
    """Answers at once."""

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802  # the service's own name
        """Answer with nothing."""
        del request, context
        return pb.PredictResponse()


def main() -> None:
    """Serve on a port that the kernel chooses, and print it."""
    if "--with-onnxruntime" in sys.argv:  # the limit of a cold start: what any server of ONNX models imports
        import onnxruntime  # noqa: F401, PLC0415
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    add_InferenceServiceServicer_to_server(Empty(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f'{{"message": "serving", "grpc_port": {port}}}\n')
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
