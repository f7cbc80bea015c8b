"""What happens to a call before a thread runs it: refuse it, or choose the threads.

grpcio queues calls for its thread pool without bound. So `WorkPool` counts the calls of the inference service
from their arrival, and `Dispatch` refuses one that is too many on threads of its own, at once. Health checks
and refusals have threads that a queue of predictions cannot take; reflection streams, each of which holds a
thread while it is open, have theirs.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import grpc
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

from inference.core import Admission

__all__ = ["Dispatch", "WorkPool", "arrived_at"]

#: 8 is what measured best on one core: 1 thread costs 1.3 × the CPU of a call, 32 cost 1.15 ×.
WORK_THREADS: Final = 8

T = TypeVar("T")
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for type checkers alone

_local = threading.local()


def arrived_at() -> float:
    """Return when the call that this thread works on arrived, on the clock of `time.perf_counter`."""
    arrived: float = getattr(_local, "arrived", 0.0) or time.perf_counter()
    return arrived


class WorkPool(ThreadPoolExecutor):
    """Threads whose tasks count as in flight from the moment they are submitted."""

    def __init__(self, admission: Admission) -> None:
        super().__init__(WORK_THREADS, thread_name_prefix="rpc")
        self._admission = admission

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401  # as the base class
        """Queue a task."""
        self._admission.enter()
        try:
            return super().submit(self._work, time.perf_counter(), fn, *args, **kwargs)
        except RuntimeError:  # shut down
            self._admission.leave()
            raise

    def _work(self, arrived: float, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:  # noqa: ANN401  # as submit
        _local.arrived = arrived
        try:
            return fn(*args, **kwargs)
        finally:
            self._admission.leave()


class _Route(NamedTuple):
    handler: _Handler
    #: What answers instead when too many wait already; None for methods that are never refused.
    refusal: "_Handler | None"


class Dispatch(grpc.ServerInterceptor):
    """Routes calls by method; what can be decided once a method is decided once.

    `refusals` has the behaviour that refuses, for each full method name that is limited.
    """

    def __init__(
        self,
        admission: Admission,
        counting: PromServerInterceptor,
        refusals: dict[str, Callable[[object, grpc.ServicerContext], object]],
        *,
        side_pool: ThreadPoolExecutor,
        stream_pool: ThreadPoolExecutor,
    ) -> None:
        self._admission = admission
        self._counting = counting
        self._refusals = refusals
        self._side_pool = side_pool
        self._stream_pool = stream_pool
        self._routes: dict[str, _Route] = {}

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], _Handler | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """Return the handler that runs this call."""
        route = self._routes.get(handler_call_details.method)
        if route is None:
            handler = continuation(handler_call_details)
            if handler is None:  # no such method; not kept, since callers choose these names
                return None
            route = self._routes[handler_call_details.method] = self._route(handler, handler_call_details)
        if route.refusal is not None and self._admission.full:
            return route.refusal
        return route.handler

    def _route(self, handler: _Handler, details: grpc.HandlerCallDetails) -> _Route:
        if handler.response_streaming:
            return _Route(self._streaming(handler), None)
        counted = self._counting.intercept_service(lambda _: handler, details)
        refuse = self._refusals.get(details.method)
        if refuse is None:
            counted.unary_unary.experimental_thread_pool = self._side_pool
            return _Route(counted, None)
        # Without a deserializer the request, perhaps megabytes, is not even looked at.
        refusing: _Handler = grpc.unary_unary_rpc_method_handler(
            refuse, response_serializer=handler.response_serializer
        )
        refusal = self._counting.intercept_service(lambda _: refusing, details)
        refusal.unary_unary.experimental_thread_pool = self._side_pool
        return _Route(counted, refusal)

    def _streaming(self, handler: _Handler) -> _Handler:
        # py-grpc-prometheus would hide that health's Watch needs no thread, and does not count streams right.
        if not handler.request_streaming or handler.stream_stream is None:
            return handler
        behaviour = handler.stream_stream

        def on_stream_pool(requests: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401  # any stream
            return behaviour(requests, context)

        on_stream_pool.experimental_thread_pool = self._stream_pool  # type: ignore[attr-defined]  # how grpcio asks
        return grpc.stream_stream_rpc_method_handler(
            on_stream_pool, handler.request_deserializer, handler.response_serializer
        )
