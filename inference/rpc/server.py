"""The gRPC server: port, limits, health, reflection, and how it ends."""

import errno
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

from inference.core import DataPlane
from inference.metrics import METHODS, Metrics
from inference.rpc.dispatch import Dispatch, WorkPool
from inference.rpc.servicer import Servicer
from protos.inference.v1 import inference_pb2
from protos.inference.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from telemetry import PortInUseError

__all__ = ["SERVICE_NAME", "GrpcServer"]

SERVICE_NAME: Final = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
#: Calls beyond the limit that may be on their way to being refused; past them grpcio itself refuses.
_REFUSED_AT_ONE_TIME: Final = 1000
#: How long answers that are computed may take to reach the wire when only streams keep the server up.
_FLUSH_SECONDS: Final = 0.5


class GrpcServer:
    """Serves the inference service, health and reflection on one port that no other process shares."""

    def __init__(
        self,
        plane: DataPlane,
        metrics: Metrics,
        *,
        track: str,
        host: str,
        port: int,
        max_message_bytes: int,
        max_concurrent: int,
        max_connection_age_seconds: int,
    ) -> None:
        """Bind `host:port`. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._plane = plane
        self._side_pool = ThreadPoolExecutor(2, thread_name_prefix="rpc-side")
        self._stream_pool = ThreadPoolExecutor(2, thread_name_prefix="rpc-stream")
        self._work_pool = WorkPool(plane.admission)
        servicer = Servicer(plane, metrics, track=track)
        self._server = grpc.server(
            self._work_pool,
            interceptors=[self._dispatch(servicer, metrics)],
            maximum_concurrent_rpcs=max_concurrent + _REFUSED_AT_ONE_TIME,
            options=_options(max_message_bytes, max_connection_age_seconds),
        )
        self._add_services(servicer)
        self.port: Final = self._bind(host, port)

    def _dispatch(self, servicer: Servicer, metrics: Metrics) -> Dispatch:
        return Dispatch(
            self._plane.admission,
            PromServerInterceptor(enable_handling_time_histogram=True, registry=metrics.registry),
            {f"/{SERVICE_NAME}/{method}": servicer.refusal(method) for method in METHODS},
            side_pool=self._side_pool,
            stream_pool=self._stream_pool,
        )

    def _add_services(self, servicer: Servicer) -> None:
        add_InferenceServiceServicer_to_server(servicer, self._server)
        self._health = health.HealthServicer(
            experimental_non_blocking=True, experimental_thread_pool=self._side_pool
        )
        self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def _bind(self, host: str, port: int) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError:
            _explain(host, port)
            raise OSError(f"gRPC cannot listen on {address}: check GRPC_HOST and GRPC_PORT") from None

    def start(self) -> None:
        """Accept calls; health says NOT_SERVING for the inference service until `serve`."""
        self._server.start()

    def serve(self) -> None:
        """Let health say SERVING."""
        self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)

    def drain(self) -> None:
        """Let health say NOT_SERVING, of everything and for good; calls are answered on."""
        self._health.enter_graceful_shutdown()

    def stop(self, grace_seconds: float) -> bool:
        """Refuse new calls, let those in flight end in `grace_seconds`; return whether they did."""
        ended = self._server.stop(grace_seconds)
        deadline = time.monotonic() + grace_seconds
        while not ended.wait(0.02) and self._plane.admission.in_flight and time.monotonic() < deadline:
            pass
        if not ended.wait(_FLUSH_SECONDS):  # only streams of health and reflection are left
            self._server.stop(None)
        for pool in (self._work_pool, self._side_pool, self._stream_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        return self._plane.admission.in_flight == 0


def _options(max_message_bytes: int, max_connection_age_seconds: int) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # by default two servers share a port without a word
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_connection_age_ms", max_connection_age_seconds * 1000),
    ]


def _explain(host: str, port: int) -> None:
    """Ask the kernel why a port cannot be bound, since grpcio does not say. Raises the answer, if any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise OSError(f"gRPC cannot listen on {host}: no such address; check GRPC_HOST") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(host, port, "GRPC_PORT") from None
            raise OSError(f"gRPC cannot listen on {host}:{port}: {error.strerror}; check GRPC_PORT") from None
