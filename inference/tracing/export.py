"""Where spans go: the SDK's provider, with the exporters that the variables name.

This module is imported only when traces are on. The SDK and the exporters read the rest of the standard
variables themselves: endpoint, headers, time limits, resource attributes, batch sizes.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TextIO

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from inference.tracing.recording import Recording, TraceIds
from inference.tracing.sampling import Sampling

__all__ = ["open_recording"]

#: The standard's default would be `unknown_service`.
_SERVICE_NAME = "coalmine-inference"


def open_recording(
    exporters: Sequence[str],
    sampling: Sampling,
    environment: Mapping[str, str],
    stream: TextIO,
    *,
    track: str,
) -> Recording:
    """Make the provider with `exporters`, names of the entry points `opentelemetry_traces_exporter`.

    Raises `LookupError` with the name of an exporter that is not installed, and `ImportError`.
    """
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=_resource(environment, track),
        id_generator=TraceIds(sampling),
        shutdown_on_exit=False,  # the end of the process is bounded by `Recording.close`
    )
    for name in exporters:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name, stream)))
    propagators = environment.get("OTEL_PROPAGATORS") or "tracecontext"
    return Recording(provider, sampling, propagate="tracecontext" in propagators.split(","))


def _exporter(name: str, stream: TextIO) -> SpanExporter:
    if name == "console":  # the one of the standard output that everything else goes to, a line a span
        return ConsoleSpanExporter(out=stream, formatter=lambda span: span.to_json(indent=None) + "\n")
    for entry in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: SpanExporter = entry.load()()
        return exporter
    raise LookupError(name)


def _resource(environment: Mapping[str, str], track: str) -> Resource:
    attributes: dict[str, str | int] = {
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "coalmine.track": track,
    }
    resource = Resource.create(attributes)
    # What the variables say of the service counts; only their silence is filled.
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return resource if named else resource.merge(Resource({"service.name": _SERVICE_NAME}))
