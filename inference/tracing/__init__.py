"""Traces of requests and of model swaps, by OpenTelemetry's standard variables.

`open_tracing` reads the variables and gives `UNTRACED` when they name no exporter; nothing of OpenTelemetry is
imported then. With an exporter, `sampling` decides about each request before anything of the SDK is touched, and
only for those that are recorded `recording` makes spans, which `export` hands on.
"""

from inference.tracing.opening import open_tracing
from inference.tracing.spans import UNTRACED, Operation, Tracing, http_operation, rpc_operation

__all__ = ["UNTRACED", "Operation", "Tracing", "http_operation", "open_tracing", "rpc_operation"]
