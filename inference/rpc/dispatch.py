"""What happens to a call before a thread runs it: refuse it, or choose the threads.

`Dispatch` refuses a call that is one too many on threads of its own, at once. Health checks and refusals have
threads that a queue of predictions cannot take; reflection streams, each of which holds a thread while it is
open, have theirs, and only so many of them may wait.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

from inference.core import Admission
from inference.ledger import Ledger, RequestKind
from inference.rpc.pool import WorkPool
from inference.rpc.reflection import StreamPool

__all__ = ["Dispatch", "MethodHandler", "Route", "count_unanswered"]

MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for type checkers alone


class Route(NamedTuple):
    """Where the calls of one method go."""

    handler: MethodHandler
    kind: RequestKind
    #: What answers instead when too many wait already; None for methods that are never refused.
    refusal: "MethodHandler | None" = None
    #: Whether a call may take seconds, and so needs threads that nothing else waits for.
    slow: bool = False


class _Own(NamedTuple):
    """A method of ours; `unanswered` counts a call that never reached it, by when it arrived."""

    route: Route
    unanswered: Callable[[float], None]


class _Side(NamedTuple):
    """A handler of a service that serves the tools, such as health."""

    handler: MethodHandler
    #: The threads of a stream that holds one; None when it holds none.
    stream_pool: StreamPool | None = None


class Dispatch(grpc.GenericRpcHandler):
    """Routes calls by full method name; everything that can be decided once a method is decided here once."""

    def __init__(
        self,
        admission: Admission,
        ledger: Ledger,
        work_pool: WorkPool,
        *,
        side_pool: ThreadPoolExecutor,
        slow_pool: ThreadPoolExecutor,
        stream_pool: StreamPool,
    ) -> None:
        self._admission = admission
        self._ledger = ledger
        self._work_pool = work_pool
        self._side_pool = side_pool
        self._slow_pool = slow_pool
        self._stream_pool = stream_pool
        self._routes: dict[str, _Own | _Side] = {}
        _run_on(side_pool, _refuse_stream)
        self._too_many_streams: MethodHandler = grpc.stream_stream_rpc_method_handler(_refuse_stream)

    def add(self, path: str, route: Route) -> None:
        """Route a method of ours; `path` is its full name, such as `/inference.v1.InferenceService/Predict`."""
        kind = self._ledger.open(route.kind)
        on_side = route.handler if route.refusal is None else route.refusal
        _run_on(self._slow_pool if route.slow else self._side_pool, on_side.unary_unary)
        self._routes[path] = _Own(route, count_unanswered(self._ledger, kind))

    def add_counted(self, path: str, handler: MethodHandler, counting: PromServerInterceptor) -> None:
        """Route a unary method that is not ours, and count its calls by `counting`."""
        counted = counting.intercept_service(lambda _: handler, _Details(path))
        _run_on(self._side_pool, counted.unary_unary)
        self._routes[path] = _Side(counted)

    def add_watch(self, path: str, handler: MethodHandler) -> None:
        """Route a stream that needs no thread while it is open."""
        self._routes[path] = _Side(handler)

    def add_stream(self, path: str, handler: MethodHandler) -> None:
        """Route a stream that holds a thread while it is open."""
        _run_on(self._stream_pool, handler.stream_stream)
        self._routes[path] = _Side(handler, self._stream_pool)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "MethodHandler | None":
        """Return the handler that runs this call; None when there is no such method."""
        found = self._routes.get(handler_call_details.method)
        if found is None:
            return None
        if isinstance(found, _Side):
            full = found.stream_pool is not None and found.stream_pool.full
            return self._too_many_streams if full else found.handler
        route, unanswered = found.route, found.unanswered
        self._ledger.arrive(route.kind)
        if route.refusal is None:
            return route.handler
        if self._admission.full:
            return route.refusal
        self._work_pool.expect(unanswered, route.refusal.unary_unary)
        return route.handler


def count_unanswered(ledger: Ledger, kind: RequestKind) -> Callable[[float], None]:
    """Return what counts a call that never reached its method, by when it arrived."""

    def unanswered(arrived: float) -> None:
        ledger.record(kind, "CANCELLED", time.perf_counter() - arrived)

    return unanswered


def _refuse_stream(_requests: object, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many reflection streams are open; try again later")


def _run_on(pool: ThreadPoolExecutor, behaviour: Any) -> None:  # noqa: ANN401  # any behaviour of a handler
    behaviour.experimental_thread_pool = pool  # how grpcio asks


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()
