"""The gRPC server: port, limits, health, reflection, and how it ends."""

import errno
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import grpc

from inference.core import DataPlane
from inference.metrics import Metrics
from inference.rpc.dispatch import Dispatch
from inference.rpc.health import MAX_WATCHERS, HealthServicer
from inference.rpc.pool import MOST_SILENT, WorkPool
from inference.rpc.reflection import MAX_STREAMS, StreamPool
from inference.rpc.side_pool import SidePool
from inference.rpc.side_services import add_side_services
from inference.rpc.slow_pool import SlowPool
from inference.rpc.unary import Method, Unary
from telemetry import PortInUseError

__all__ = ["GrpcServer", "Limits"]

#: Calls beyond the limit that may be on their way to being refused; past them grpcio itself refuses.
_REFUSED_AT_ONE_TIME: Final = 1000
#: The window of HTTP/2 by default (RFC 9113, section 6.9.2): enough for 1,000 rows of 8 features.
_LOOKAHEAD_BYTES: Final = 65_535
#: How long answers that are computed may take to reach the wire when only streams keep the server up.
_FLUSH_SECONDS: Final = 0.5
#: Calls that are on their way when grpcio closes the port end as CANCELLED, which clients do not send again. So new
#: calls are refused as UNAVAILABLE for a moment first: who waits before the next try is not on the way then.
_LAST_REFUSALS_SECONDS: Final = 0.2


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
        self._side_pool = SidePool()
        self._slow_pool = SlowPool()
        self._stream_pool = StreamPool()
        self._work_pool = WorkPool(plane.admission)
        self._health = HealthServicer(tuple(services), metrics.ledger, self._side_pool)
        self._server = grpc.server(
            self._work_pool,  # type: ignore[arg-type]  # grpcio needs no more than its `submit`
            handlers=[self._dispatch(metrics, services, track)],
            maximum_concurrent_rpcs=sum(
                (limits.max_concurrent, MOST_SILENT, _REFUSED_AT_ONE_TIME, MAX_WATCHERS, MAX_STREAMS)
            ),
            options=_options(limits, share_port=share_port),
        )
        self.port: Final = self._bind(host, port, credentials)

    def _dispatch(self, metrics: Metrics, services: Mapping[str, Sequence[Method]], track: str) -> Dispatch:
        dispatch = Dispatch(
            self._plane.admission,
            metrics.ledger,
            self._work_pool,
            side_pool=self._side_pool,
            slow_pool=self._slow_pool,
            stream_pool=self._stream_pool,
        )
        unary = Unary(self._plane, metrics, track=track)
        for service, methods in services.items():
            for method in methods:
                dispatch.add(f"/{service}/{method.name}", unary.route(service, method))
        add_side_services(dispatch, self._health, tuple(services), metrics)
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
        self._health.say(serving=True)

    def pause(self) -> None:
        """Let health say NOT_SERVING for our services until `serve`."""
        self._health.say(serving=False)

    def drain(self) -> None:
        """Let health say NOT_SERVING of our services, for good; calls are answered on."""
        self._health.drain()

    def stop(self, grace_seconds: float) -> bool:
        """Refuse new calls, let those in flight end in `grace_seconds`; return whether they did."""
        deadline = time.monotonic() + grace_seconds
        self._refuse_what_comes(min(grace_seconds, _LAST_REFUSALS_SECONDS))
        ended = self._server.stop(max(0.0, deadline - time.monotonic()))
        while not ended.wait(0.02) and self._plane.admission.in_flight and time.monotonic() < deadline:
            pass
        if not ended.wait(
            _FLUSH_SECONDS
        ):  # what is left is not counted in flight: streams, and loads of models
            self._server.stop(None)
        self._health.close()
        self._work_pool.shutdown()
        for pool in (self._side_pool, self._slow_pool, self._stream_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        return self._plane.admission.in_flight == 0

    def _refuse_what_comes(self, seconds: float) -> None:
        self._plane.admission.close()
        time.sleep(seconds)


def _options(limits: Limits, *, share_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(share_port)),  # by default two servers share a port without a word
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_connection_age_ms", limits.max_connection_age_seconds * 1000),
        # How much of a message is read before a thread takes it up. With its own estimate of the network gRPC
        # would read whole messages of calls that wait.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
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
