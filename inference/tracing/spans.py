"""What the server says to whoever traces it, and the one who does not listen."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:  # whoever asks for --help needs no numpy
    from inference.events import PredictionRecord

__all__ = ["UNTRACED", "Operation", "Tracing", "http_operation", "rpc_operation"]


class Operation(NamedTuple):
    """What a kind of request is called in traces; made once a method."""

    name: str
    attributes: Mapping[str, str]
    is_http: bool = False


def rpc_operation(service: str, method: str) -> Operation:
    """Name a gRPC method as the semantic conventions do (opentelemetry.io, "RPC spans")."""
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    return Operation(f"{service}/{method}", attributes)


def http_operation(method: str, route: str) -> Operation:
    """Name an HTTP route as the semantic conventions do (opentelemetry.io, "HTTP spans")."""
    attributes = {
        "http.request.method": method,
        "http.route": route,
        "url.scheme": "http",
    }
    return Operation(f"{method} {route}", attributes, is_http=True)


class Tracing(Protocol):
    """Follows requests and swaps.

    A request is traced by the thread or task that begins and ends it; in between, what that thread or task
    does, `annotate` included, belongs to it.
    """

    def start(
        self, operation: Operation, headers: Mapping[str, Any], arrived: float, request_id: str
    ) -> None:
        """Begin to follow a request, if it is to be recorded.

        `headers` has lower-case names; `arrived` is on the clock of `time.perf_counter`.
        """

    def end(self, code: str, http_status: int = 0) -> None:
        """End the request that this thread or task began, if it is recorded; `code` names its gRPC status."""

    def annotate(self, record: "PredictionRecord") -> None:
        """Note what answered the request; a listener of the data plane."""

    def step(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        """Record what happens inside, as part of the step or request around it, always: it is rare."""

    def close(self, timeout_seconds: float) -> bool:
        """Hand on what was recorded; return whether that came to an end in time."""


class _Untraced:
    """Listens to nothing."""

    def start(
        self, operation: Operation, headers: Mapping[str, Any], arrived: float, request_id: str
    ) -> None:
        pass

    def end(self, code: str, http_status: int = 0) -> None:
        pass

    def annotate(self, record: "PredictionRecord") -> None:
        pass

    def step(self, name: str, **attributes: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def close(self, timeout_seconds: float) -> bool:  # noqa: ARG002
        return True


UNTRACED: Final[Tracing] = _Untraced()
