"""What all unary methods share: read the request, answer, count, and turn what goes wrong into a status.

Requests arrive as bytes and are parsed here, so that bytes which are no message are the caller's error, and large
ones are not parsed by the one thread that reads from the network.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, Self

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from inference.core import DataPlane
from inference.errors import AbandonedError, InvalidRequestError, Violation
from inference.generation import Generation
from inference.ledger import RequestKind
from inference.metrics import Metrics
from inference.rpc.dispatch import Route
from inference.rpc.status import Trailers, rich_status
from inference.rpc.task import reached
from inference.status import failure_of
from inference.tokens import TokenGuard
from inference.tracing import rpc_operation
from telemetry import choose_correlation_id, correlation_id

__all__ = ["Call", "Method", "Reply", "Unary"]

#: Answers from this size on count as bytes in memory until the caller has taken them.
_LARGE_BYTES: Final = 64 * 1024
#: A call that waited no longer than this is started without looking whether its caller is still there.
_SOON_SECONDS: Final = 0.005

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Call(NamedTuple):
    """What a method may know of a call beside its request."""

    headers: Mapping[str, Any]
    request_id: str


class Reply(NamedTuple):
    """The bytes of a response, and the generation that made it, if one did."""

    response: bytes
    generation: Generation | None = None

    @classmethod
    def of(cls, message: Message, generation: Generation | None = None) -> Self:
        """Return the reply with `message`."""
        return cls(message.SerializeToString(), generation)


class Method(NamedTuple):
    """One unary method of a service of ours."""

    name: str
    request: type[Message]
    #: Answers a request of that type.
    work: Callable[[Any, Call], Reply]
    #: Who may call it.
    guard: TokenGuard
    #: Whether it counts as a request that works for somebody, is refused when too many wait, and has a
    #: deadline that matters. Methods that only look something up do not.
    limited: bool = True
    #: Whether a call may take seconds without working for a prediction, as a load does.
    slow: bool = False


class Unary:
    """Makes routes of methods."""

    def __init__(self, plane: DataPlane, metrics: Metrics, *, track: str) -> None:
        self._plane = plane
        self._metrics = metrics
        self._track = track
        self._last_trailers: tuple[Generation | None, Trailers] = (None, (("x-deployment-track", track),))

    def route(self, service: str, method: Method) -> Route:
        """Return the route of `method` of the service with the full name `service`."""
        kind = RequestKind(method.name, service)
        handler: Any = grpc.unary_unary_rpc_method_handler(self._behaviour(kind, method))
        if not method.limited:
            return Route(handler, kind, slow=method.slow)
        refusal: Any = grpc.unary_unary_rpc_method_handler(self._refusal(kind))
        return Route(handler, kind, refusal)

    def _behaviour(self, kind: RequestKind, method: Method) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        parse: Callable[[bytes], Message] = method.request.FromString
        work, guard, limited = method.work, method.guard, method.limited
        guarded = not guard.open
        ledger = self._metrics.ledger
        tracing, operation = self._plane.tracing, rpc_operation(kind.service, kind.method)
        now = time.perf_counter

        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            arrived = reached()
            headers = _headers(context)
            request_id = choose_correlation_id(headers)
            correlation_id.set(request_id)
            tracing.start(operation, headers, arrived, request_id)
            try:
                if guarded:
                    guard.check(headers, lambda: _host(context.peer()))
                if limited:
                    self._check_worth_starting(context, now() - arrived)
                try:
                    request = parse(data)
                except DecodeError:
                    raise _undecodable(data) from None
                response, generation = work(request, Call(headers, request_id))
                if len(response) >= _LARGE_BYTES:
                    self._keep_until_taken(len(response), context)
            except Exception as error:  # noqa: BLE001  # the edge of the process
                self._abort(kind, error, request_id, context, arrived)
            context.set_trailing_metadata((*self._trailers(generation), ("x-request-id", request_id)))
            code = "OK" if context.is_active() else _code_of_gone(context)
            ledger.record(kind, code, now() - arrived, request_id)
            tracing.end(code)
            return response

        return answer

    def _refusal(self, kind: RequestKind) -> Callable[[bytes, grpc.ServicerContext], NoReturn]:
        def refuse(_data: bytes, context: grpc.ServicerContext) -> NoReturn:
            arrived = time.perf_counter()
            request_id = choose_correlation_id(_headers(context))
            correlation_id.set(request_id)
            self._abort(kind, self._plane.admission.refusal(), request_id, context, arrived)

        return refuse

    def _check_worth_starting(self, context: grpc.ServicerContext, waited_seconds: float) -> None:
        self._plane.check_worth_starting(
            # Who has only just asked is still there, and asking costs a lock.
            alive=waited_seconds < _SOON_SECONDS or context.is_active(),
            remaining_seconds=context.time_remaining(),
            waited_seconds=waited_seconds,
        )

    def _keep_until_taken(self, size_bytes: int, context: grpc.ServicerContext) -> None:
        admission = self._plane.admission
        admission.keep(size_bytes)
        if not context.add_callback(lambda: admission.let_go(size_bytes)):
            admission.let_go(size_bytes)
            raise AbandonedError

    def _abort(
        self,
        kind: RequestKind,
        error: Exception,
        request_id: str,
        context: grpc.ServicerContext,
        arrived: float,
    ) -> NoReturn:
        failure = failure_of(error, request_id)
        if failure.is_defect:
            _log.error("request failed", method=kind.method, exc_info=error)
        self._metrics.shed_by(error)
        code = failure.code.name if context.is_active() else _code_of_gone(context)
        self._metrics.ledger.record(kind, code, time.perf_counter() - arrived, request_id)
        self._plane.tracing.end(code)
        trailers = (*self._trailers(self._plane.serving), ("x-request-id", request_id))
        context.abort_with_status(rich_status(failure, trailers))

    def _trailers(self, generation: Generation | None) -> Trailers:
        last, trailers = self._last_trailers
        if last is not generation:
            version = (("x-model-version", generation.version),) if generation is not None else ()
            trailers = (*version, ("x-deployment-track", self._track))
            self._last_trailers = (generation, trailers)
        return trailers


def _undecodable(data: bytes) -> InvalidRequestError:
    return InvalidRequestError(
        [Violation("message", f"found {len(data)} bytes that are not the message of this method")]
    )


def _code_of_gone(context: grpc.ServicerContext) -> str:
    return "DEADLINE_EXCEEDED" if context.time_remaining() <= 0 else "CANCELLED"


def _headers(context: grpc.ServicerContext) -> dict[str, Any]:
    pairs: Any = context.invocation_metadata()  # text, and bytes where the name ends with -bin
    return dict(pairs)


def _host(peer: str) -> str:
    """Take the port off an address as gRPC writes it: `ipv4:127.0.0.1:4711`."""
    return peer.rpartition(":")[0]
