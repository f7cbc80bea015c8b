"""Spans of requests and swaps, made by the SDK. This module is imported only when traces are on."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from inference.events import PredictionRecord
from inference.ledger import SERVER_FAULTS
from inference.status import Code
from inference.tracing.sampling import Parent, Sampling, parent_of
from inference.tracing.spans import Operation

__all__ = ["Recording", "TraceIds"]


class _Open:
    """A span that is being recorded."""

    __slots__ = ("is_http", "span")

    def __init__(self, span: Span, *, is_http: bool) -> None:
        self.span = span
        self.is_http = is_http


_current: ContextVar[_Open | None] = ContextVar("span", default=None)


class TraceIds(RandomIdGenerator):
    """Makes trace ids that the sampler takes by their value."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    def generate_trace_id(self) -> int:
        """Make one."""
        return self._sampling.new_trace_id()


class Recording:
    """Traces by a provider whose own sampler takes everything, since the decision is made before it is asked."""

    def __init__(self, provider: TracerProvider, sampling: Sampling, *, propagate: bool) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("coalmine.inference")
        self._sampling = sampling
        self._propagate = propagate

    def start(
        self, operation: Operation, headers: Mapping[str, Any], arrived: float, request_id: str
    ) -> None:
        """Begin to follow a request, if it is to be recorded."""
        parent = parent_of(headers) if self._propagate and "traceparent" in headers else None
        taken = self._sampling.takes_root() if parent is None else self._sampling.takes_child(parent)
        _current.set(self._open(operation, parent, headers, arrived, request_id) if taken else None)

    def end(self, code: str, http_status: int = 0) -> None:
        """End the request that this thread or task began, if it is recorded."""
        current = _current.get()
        if current is None:
            return
        _current.set(None)
        span = current.span
        if current.is_http:
            span.set_attribute("http.response.status_code", http_status)
        else:
            span.set_attribute("rpc.grpc.status_code", Code[code].value)
        if code != "OK":
            span.set_attribute("error.type", code)
        if code in SERVER_FAULTS:  # of a server's span, the caller's mistakes are no errors
            span.set_status(StatusCode.ERROR, code)
        span.end()

    def annotate(self, record: PredictionRecord) -> None:
        """Note what answered the request."""
        current = _current.get()
        if current is not None:
            generation = record.generation
            current.span.set_attributes(
                {
                    "coalmine.model.name": generation.name,
                    "coalmine.model.version": generation.version,
                    "coalmine.model.digest": generation.digest,
                    "coalmine.rows": len(record.features),
                    "coalmine.event_id": record.event_id,
                }
            )

    def step(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        """Record what happens inside, as part of the step or request around it."""
        return self._step(name, {f"coalmine.{key}": value for key, value in attributes.items()})

    def close(self, timeout_seconds: float) -> bool:
        """Hand on what was recorded; a collector that does not answer holds nobody up for longer."""
        thread = threading.Thread(target=self._provider.shutdown, name="trace-flush", daemon=True)
        thread.start()
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def _open(
        self,
        operation: Operation,
        parent: Parent | None,
        headers: Mapping[str, Any],
        arrived: float,
        request_id: str,
    ) -> _Open:
        waited = time.perf_counter() - arrived
        span = self._tracer.start_span(
            operation.name,
            context=_context_of(parent, headers),
            kind=SpanKind.SERVER,
            attributes={**operation.attributes, "coalmine.request_id": request_id},
            start_time=time.time_ns() - round(waited * 1e9),
        )
        return _Open(span, is_http=operation.is_http)

    @contextmanager
    def _step(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        around = _current.get()
        context = set_span_in_context(around.span, Context()) if around is not None else Context()
        span: Final = self._tracer.start_span(name, context=context, attributes=attributes)
        token = _current.set(_Open(span, is_http=False))
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR, str(error))
            raise
        finally:
            _current.reset(token)
            span.end()


def _context_of(parent: Parent | None, headers: Mapping[str, Any]) -> Context:
    if parent is None:
        return Context()
    span = SpanContext(
        parent.trace_id,
        parent.span_id,
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState.from_header([headers.get("tracestate", "")]),
    )
    return set_span_in_context(NonRecordingSpan(span), Context())
