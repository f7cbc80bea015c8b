"""Server reflection, by which grpcurl and its like find services, messages and fields without the .proto files.

grpcio-reflection has `grpc.reflection.v1alpha` alone. Newer tools ask `grpc.reflection.v1` first, whose messages
are the same under another name, so the same handler answers both.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from inference.ledger import Ledger, RequestKind

__all__ = ["MAX_STREAMS", "REFLECTION_SERVICES", "StreamPool", "reflection_handlers"]

_V1ALPHA: Final[str] = reflection.SERVICE_NAME
_V1: Final = "grpc.reflection.v1.ServerReflection"
_V1_FILE: Final = "grpc/reflection/v1/reflection.proto"
_METHOD: Final = "ServerReflectionInfo"
#: Full names of the services, the newer first.
REFLECTION_SERVICES: Final = (_V1, _V1ALPHA)
#: Streams that may be open or wait at one time; each has a thread while it is open, and tools close theirs at once.
MAX_STREAMS: Final = 100
_STREAM_THREADS: Final = 2

Handler = Any  # grpc.RpcMethodHandler, generic for type checkers alone


class StreamPool(ThreadPoolExecutor):
    """The threads of streams that hold one while they are open."""

    def __init__(self) -> None:
        super().__init__(_STREAM_THREADS, thread_name_prefix="rpc-stream")
        self._open: set[Future[Any]] = set()

    @property
    def full(self) -> bool:
        """Whether one more stream would be too many."""
        return len(self._open) >= MAX_STREAMS

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":  # noqa: ANN401  # as inherited
        """Run a stream when a thread is free."""
        future = super().submit(function, *arguments, **named)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future


def reflection_handlers(services: Sequence[str], ledger: Ledger) -> dict[str, Handler]:
    """Return a handler by full method name; `services` are the full names to list beside these two."""
    _describe_v1()
    servicer = reflection.ReflectionServicer((*services, *REFLECTION_SERVICES))
    return {
        f"/{service}/{_METHOD}": grpc.stream_stream_rpc_method_handler(
            _counted(
                servicer.ServerReflectionInfo,
                ledger,
                ledger.open(RequestKind(_METHOD, service, "BIDI_STREAMING")),
            ),
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for service in REFLECTION_SERVICES
    }


def _counted(
    answer: Callable[[Any, grpc.ServicerContext], Iterator[Any]], ledger: Ledger, kind: RequestKind
) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def counted(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401  # a stream
        arrived = time.perf_counter()
        ledger.arrive(kind)
        try:
            yield from answer(requests, context)
        finally:
            code = "OK" if context.is_active() else "CANCELLED"
            ledger.record(kind, code, time.perf_counter() - arrived)

    return counted


def _describe_v1() -> None:
    """Let the pool of descriptors know v1: tools that describe every listed service ask for it."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_V1_FILE)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file.name, file.package = _V1_FILE, _V1.rpartition(".")[0]
        for message in file.message_type:
            for field in message.field:
                if field.HasField("type_name"):
                    field.type_name = _as_v1(field.type_name)
        for method in file.service[0].method:
            method.input_type, method.output_type = _as_v1(method.input_type), _as_v1(method.output_type)
        pool.AddSerializedFile(file.SerializeToString())


def _as_v1(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
