"""The gRPC server: port, limits, health, reflection, and how it ends."""

import errno
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from inference.core import DataPlane
from inference.metrics import Metrics
from inference.rpc.dispatch import Dispatch, Handler
from inference.rpc.pool import WorkPool
from inference.rpc.unary import Method, Unary
from telemetry import PortInUseError

__all__ = ["GrpcServer", "Limits"]

#: Calls beyond the limit that may be on their way to being refused; past them grpcio itself refuses.
_REFUSED_AT_ONE_TIME: Final = 1000
#: How long answers that are computed may take to reach the wire when only streams keep the server up.
_FLUSH_SECONDS: Final = 0.5


class Limits(NamedTuple):
    """What one server takes."""

    max_message_bytes: int
    max_concurrent: int
    max_connection_age_seconds: int


class GrpcServer:
    """Serves our services, health and reflection on one port.

    `services` has the methods of each service by its full name. `share_port` lets several processes listen on the
    port at one time; without it nobody else can.
    """

    def __init__(
        self,
        plane: DataPlane,
        metrics: Metrics,
        services: Mapping[str, Sequence[Method]],
        limits: Limits,
        *,
        track: str,
        host: str,
        port: int,
        share_port: bool = False,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """Bind `host:port`. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._plane = plane
        self._side_pool = ThreadPoolExecutor(2, thread_name_prefix="rpc-side")
        self._stream_pool = ThreadPoolExecutor(2, thread_name_prefix="rpc-stream")
        self._work_pool = WorkPool(plane.admission)
        self._services = tuple(services)
        self._server = grpc.server(
            self._work_pool,  # type: ignore[arg-type]  # grpcio needs no more than its `submit`
            handlers=[self._dispatch(metrics, services, track)],
            maximum_concurrent_rpcs=limits.max_concurrent + _REFUSED_AT_ONE_TIME,
            options=_options(limits, share_port=share_port),
        )
        self.port: Final = self._bind(host, port, credentials)

    def _dispatch(self, metrics: Metrics, services: Mapping[str, Sequence[Method]], track: str) -> Dispatch:
        dispatch = Dispatch(
            self._plane.admission,
            metrics.ledger,
            self._work_pool,
            side_pool=self._side_pool,
            stream_pool=self._stream_pool,
        )
        unary = Unary(self._plane, metrics, track=track)
        for service, methods in services.items():
            for method in methods:
                dispatch.add(f"/{service}/{method.name}", unary.route(service, method))
        self._health = health.HealthServicer(
            experimental_non_blocking=True, experimental_thread_pool=self._side_pool
        )
        foreign = _Handlers()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, foreign)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), foreign
        )
        for path, handler in foreign.by_path.items():
            dispatch.add_foreign(path, handler, metrics.grpc_counting)
        self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        return dispatch

    def _bind(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError:
            _explain(host, port)
            raise OSError(f"gRPC cannot listen on {address}: check GRPC_HOST and GRPC_PORT") from None

    def start(self) -> None:
        """Accept calls; health says NOT_SERVING for our services until `serve`."""
        self._server.start()

    def serve(self) -> None:
        """Let health say SERVING."""
        self._say(health_pb2.HealthCheckResponse.SERVING)

    def pause(self) -> None:
        """Let health say NOT_SERVING for our services until `serve`."""
        self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

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
        self._work_pool.shutdown()
        for pool in (self._side_pool, self._stream_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        return self._plane.admission.in_flight == 0

    def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in self._services:
            self._health.set(service, status)


class _Handlers:
    """What generated code takes for a server when it adds its methods; keeps them by full method name."""

    def __init__(self) -> None:
        self.by_path: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the same methods come by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.by_path.update({f"/{service}/{method}": handler for method, handler in handlers.items()})


def _options(limits: Limits, *, share_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(share_port)),  # by default two servers share a port without a word
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_connection_age_ms", limits.max_connection_age_seconds * 1000),
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
