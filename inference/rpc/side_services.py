"""Health and reflection as methods of a dispatch, wired in the same way for either transport."""

from collections.abc import Mapping, Sequence
from typing import Final

from grpc_health.v1 import health_pb2_grpc

from inference.metrics import Metrics
from inference.rpc.dispatch import Dispatch, MethodHandler
from inference.rpc.health import HEALTH_SERVICE, HealthServicer
from inference.rpc.reflection import reflection_handlers

__all__ = ["add_side_services"]

_CHECK: Final = f"/{HEALTH_SERVICE}/Check"
_WATCH: Final = f"/{HEALTH_SERVICE}/Watch"


def add_side_services(
    dispatch: Dispatch, health: HealthServicer, services: Sequence[str], metrics: Metrics
) -> None:
    """Let `dispatch` answer for health, and for reflection over `services` and health."""
    handlers = _Handlers()
    health_pb2_grpc.add_HealthServicer_to_server(health, handlers)
    dispatch.add_counted(_CHECK, handlers.by_path[_CHECK], metrics.grpc_counting)
    dispatch.add_watch(_WATCH, handlers.by_path[_WATCH])
    for path, handler in reflection_handlers((*services, HEALTH_SERVICE), metrics.ledger).items():
        dispatch.add_stream(path, handler)


class _Handlers:
    """What generated code takes for a server when it adds its methods; keeps them by full method name."""

    def __init__(self) -> None:
        self.by_path: dict[str, MethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the same methods come by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, MethodHandler]) -> None:
        self.by_path.update({f"/{service}/{method}": handler for method, handler in handlers.items()})
