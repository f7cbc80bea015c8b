"""The gRPC server on pygrpc-native: HTTP/2 and gRPC in Rust, outside of the GIL, and our behaviours as they are.

One thread takes calls from the transport as they arrive, and decides there what `inference.rpc.dispatch` decides
for grpcio: it refuses a call that is one too many at once, and queues the others for `WorkPool`. Answers are sent by
the thread that computed them. docs/decisions/0005-offer-native-transport.md says what this costs.
"""

import contextvars
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import grpc
import structlog
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from inference.core import DataPlane
from inference.ledger import RequestKind
from inference.metrics import Metrics
from inference.rpc.dispatch import count_unanswered
from inference.rpc.native_context import CallAbortedError, Metadata, NativeContext, Untaken, sendable
from inference.rpc.native_side import SideServer
from inference.rpc.pool import WorkPool
from inference.rpc.server import Limits
from inference.rpc.slow_pool import SlowPool
from inference.rpc.unary import Method, Unary
from telemetry import PortInUseError

__all__ = ["NativeServer"]

#: Threads of the transport: with 2 a call costs 1.09 × the CPU, and one core answers no more of them.
_IO_THREADS: Final = 1
#: Calls taken at one time; a burst takes one trip across the GIL.
_BATCH: Final = 64
#: How long an idle server may keep bytes counted that their caller has taken.
_TICK_MS: Final = 100
#: Calls that may be queued for the two threads of methods without a limit, as on grpcio.
_LOOKUPS_AT_ONE_TIME: Final = 1000
#: How long statuses may take to reach the wire when no answer is under way any more.
_FLUSH_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.01

_Behaviour = Callable[[bytes, Any], bytes]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class _Served(NamedTuple):
    """A method of ours; `unanswered` counts a call that never reached it, by when it arrived."""

    path: str
    kind: RequestKind
    behaviour: _Behaviour
    #: What answers instead when too many wait already; None for methods that are never refused.
    refusal: _Behaviour | None
    unanswered: Callable[[float], None]
    #: Whether a call may take seconds, and so needs a thread that nothing else waits for.
    slow: bool


class NativeServer:
    """Serves our services, health and reflection on one port, as `GrpcServer` does; see there."""

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
        """Bind `host:port`. Raises `PortInUseError`, and `OSError` for every other reason.

        The age of connections cannot be limited, so `limits` is not asked for it.
        """
        assert credentials is None, "the settings refuse TLS"
        self._admission: Final = plane.admission
        self._ledger: Final = metrics.ledger
        self._max_bytes: Final = limits.max_message_bytes
        self._most_open: Final = limits.max_concurrent + _LOOKUPS_AT_ONE_TIME
        self._front: Final = _bind(host, port, share_port=share_port)
        self.port: Final = self._front.bound_port
        self._work_pool = WorkPool(plane.admission)
        self._lookup_pool = ThreadPoolExecutor(2, thread_name_prefix="rpc-lookup")
        self._slow_pool = SlowPool()
        self._side = self._make_side(metrics, tuple(services))
        self._health = self._side.health
        unary = Unary(plane, metrics, track=track)
        self._served = [
            self._serve_method(unary, service, method)
            for service, methods in services.items()
            for method in methods
        ]
        self._untaken = Untaken(self._front, [served.path for served in self._served])
        self._open: dict[int, NativeContext] = {}
        self._stopping = False
        self._taker = threading.Thread(target=self._take, name="rpc-take", daemon=True)

    def _make_side(self, metrics: Metrics, services: Sequence[str]) -> SideServer:
        try:
            return SideServer(
                self._admission,
                metrics,
                services,
                max_message_bytes=self._max_bytes,
                work_pool=self._work_pool,
            )
        except OSError:
            self._front.close()
            raise

    def _serve_method(self, unary: Unary, service: str, method: Method) -> _Served:
        route = unary.route(service, method)
        kind = self._ledger.open(route.kind)
        unanswered = count_unanswered(self._ledger, kind)
        refusal = None if route.refusal is None else route.refusal.unary_unary
        behaviour: Any = route.handler.unary_unary  # never None, since all our methods are unary
        return _Served(f"/{service}/{method.name}", kind, behaviour, refusal, unanswered, method.slow)

    def start(self) -> None:
        """Accept calls; health says NOT_SERVING for our services until `serve`."""
        self._side.start()
        self._front.set_fallback(str(self._side.socket))
        self._front.add_methods([(served.path, False) for served in self._served])
        self._front.start()
        self._taker.start()

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
        self._admission.close()
        self._stopping = True
        if self._taker.is_alive():
            self._wait_until(self._all_taken, grace_seconds)
            self._wait_until(lambda: self._untaken.under_way()[0] == 0, _FLUSH_SECONDS)
        self._front.close()
        if self._taker.is_alive():
            self._taker.join(_FLUSH_SECONDS)
        for context in [*self._open.values()]:  # so that who works on them learns it
            context.end()
        self._side.stop()
        self._work_pool.shutdown()
        for pool in (self._lookup_pool, self._slow_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        return self._admission.in_flight == 0

    def _all_taken(self) -> bool:
        return not (self._admission.in_flight or self._open) and self._untaken.under_way()[1] <= 0

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _take(self) -> None:
        while self._take_batch():
            self._untaken.settle()

    def _take_batch(self) -> bool:
        # In a function of its own, or the last requests would stay in memory until the next ones come.
        events = self._front.recv_batch_details(_BATCH, _TICK_MS)
        for kind, call_id, method_id, payload, _, details in events or ():
            if kind != EVENT_CALL:
                if (gone := self._open.get(call_id)) is not None:
                    gone.cancel()
            elif payload is not None and details is not None:
                self._arrived(self._served[method_id], payload, NativeContext(call_id, *details))
        return events is not None

    def _arrived(self, served: _Served, payload: bytes, context: NativeContext) -> None:
        self._ledger.arrive(served.kind)
        if (refused := self._size_error("Received", len(payload))) is not None:
            self._turn_away(served, context, grpc.StatusCode.RESOURCE_EXHAUSTED, refused)
            return
        self._open[context.call_id] = context
        if served.refusal is None:
            self._look_up(served, payload, context)
        elif self._admission.full:
            self._run(served.refusal, payload, context)
        else:
            self._work_pool.expect(served.unanswered)
            self._work_pool.submit(self._run, served.behaviour, payload, context)

    def _look_up(self, served: _Served, payload: bytes, context: NativeContext) -> None:
        if self._stopping:
            self._turn_away(served, context, grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        elif len(self._open) > self._most_open:
            sentence = "too many calls are open; try again"
            self._turn_away(served, context, grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)
        else:
            pool = self._slow_pool if served.slow else self._lookup_pool
            pool.submit(self._run, served.behaviour, payload, context)

    def _turn_away(
        self, served: _Served, context: NativeContext, code: grpc.StatusCode, sentence: str
    ) -> None:
        self._open.pop(context.call_id, None)
        self._fail(context, code, sentence)
        self._ledger.record(served.kind, code.name, 0.0)

    def _run(self, behaviour: _Behaviour, payload: bytes, context: NativeContext) -> None:
        """Run a behaviour and send what comes of it. Whatever happens, the call ends."""
        try:
            if context.is_active():
                self._send(behaviour, payload, context)
        except Exception:  # noqa: BLE001  # the edge of the process; the thread goes on
            _log.exception("a call ended with an error outside of its handler")
        finally:
            if not context.answered and context.is_active():
                self._fail(context, grpc.StatusCode.INTERNAL, "internal error")
            self._open.pop(context.call_id, None)
            context.end()

    def _send(self, behaviour: _Behaviour, payload: bytes, context: NativeContext) -> None:
        try:
            # A context of its own, so that what one call sets in it the next one does not find.
            response = contextvars.Context().run(behaviour, payload, context)
        except CallAbortedError as aborted:
            status = aborted.status
            self._fail(context, status.code, status.details, sendable(status.trailing_metadata or ()))
            return
        if (refused := self._size_error("Sent", len(response))) is not None:
            self._fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, refused)
        else:
            self._answer(context, response, sendable(context.trailers))

    def _answer(self, context: NativeContext, response: bytes, trailers: Metadata) -> None:
        taken_over = False
        self._untaken.count(len(response))
        try:
            taken_over = self._front.respond(context.call_id, response, None, trailers)
            context.answered = True
        finally:
            if not taken_over:  # the caller is gone
                self._untaken.count(-len(response))
        if taken_over and (callbacks := context.take_callbacks()):
            self._untaken.hold(len(response), callbacks)

    def _fail(
        self, context: NativeContext, code: grpc.StatusCode, sentence: str, trailers: Metadata = ()
    ) -> None:
        self._front.fail(context.call_id, code.value[0], sentence, trailers)
        context.answered = True

    def _size_error(self, what: str, size_bytes: int) -> str | None:
        if size_bytes <= self._max_bytes:
            return None
        return (
            f"SERVER: {what} message larger than max ({size_bytes} vs. {self._max_bytes})"  # grpcio's words
        )


def _bind(host: str, port: int, *, share_port: bool) -> NativeGrpcFront:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    its_log = logging.getLogger("pygrpc_native")
    its_log.disabled = True  # it warns of what is raised as well
    try:
        return NativeGrpcFront(
            address,
            [],
            io_threads=_IO_THREADS,
            call_details=True,
            metrics=True,
            keepalive_permit_without_calls=False,
            reuse_port=share_port,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port, "GRPC_PORT") from None
        reason = os.strerror(error.errno) if error.errno else "no such address"
        raise OSError(f"gRPC cannot listen on {address}: {reason}; check GRPC_HOST and GRPC_PORT") from None
    finally:
        its_log.disabled = False
