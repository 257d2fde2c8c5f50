"""OpenTelemetry traces of calls and callbacks.

A caller's trace is continued (W3C traceparent). No trace context is sent to providers. Spans hold no exception text, no
URL with a callback key, and text of a provider only masked.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.telemetry.logs import bound
from gateway.telemetry.release import release
from gateway.telemetry.tracing import NOTHING, Attributes, Kind, SpanResult, enter, leave

T = TypeVar("T")

EXPORT_S = 5.0
"""Seconds for the export of a batch, all attempts together."""

FLUSH_S = 1.5
"""Seconds that a stopping gateway waits for the export of the last spans."""

_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that the semantic conventions for gRPC call server errors."""

_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_LOG_FIELDS = ("request_id", "provider")
_W3C = TraceContextTextMapPropagator()


def otlp_exporter(endpoint: str) -> SpanProcessor:
    """Return a processor that exports spans in batches, on a thread, to an OTLP/HTTP collector at this base URL."""
    url = endpoint if endpoint.endswith("/v1/traces") else f"{endpoint}/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=EXPORT_S))


class OtelTracer:
    """The tracer of one gateway. `sample_ratio` applies to traces without a sampling decision of the caller."""

    def __init__(self, processor: SpanProcessor, sample_ratio: float = 1.0) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": "session-gateway", "service.version": release()}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("session-gateway")

    async def close(self) -> None:
        """Export the remaining spans. A collector that hangs delays it by FLUSH_S at most."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended: nothing waits
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="traces-flush", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), FLUSH_S)

    def rpc(self, method: str, behavior: Callable[[Any, Any], Awaitable[T]]) -> Callable[[Any, Any], Awaitable[T]]:
        """Wrap a gRPC method ('/package.Service/Method'): each call is a trace, or a part of its caller's trace."""
        name = method.removeprefix("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}

        async def call(request: Any, context: Any) -> T:
            parent = _W3C.extract(_carrier(context.invocation_metadata()), Context())
            span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
            if not span.is_recording():
                return await behavior(request, context)
            with self._under(span):
                try:
                    response = await behavior(request, context)
                except asyncio.CancelledError:
                    self.rpc_failed("CANCELLED")
                    raise
                finally:
                    fields = bound()
                    span.set_attributes({key: str(fields[key]) for key in _LOG_FIELDS if key in fields})
                span.set_attribute("rpc.status_code", "OK")
                return response

        return call

    def rpc_failed(self, code: str, attributes: Attributes = NOTHING, message: str = "") -> None:
        """Record the status of the failed call on the current span."""
        span = trace.get_current_span()
        span.set_attributes({"rpc.status_code": code, **{k: v for k, v in attributes.items() if v}})
        if code in _SERVER_ERRORS:
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, message))

    async def callback(
        self, name: str, work: Awaitable[T], *, attributes: Attributes, result: Callable[[T], SpanResult]
    ) -> T:
        """Do the work of a provider's callback as a separate trace: trace context of a provider is ignored."""
        span = self._tracer.start_span(name, Context(), SpanKind.SERVER, dict(attributes))
        if not span.is_recording():
            return await work
        with self._under(span):
            return await _finish(span, work, result)

    async def span(
        self,
        name: str,
        work: Awaitable[T],
        *,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes = NOTHING,
        result: Callable[[T], SpanResult] | None = None,
    ) -> T:
        """Do the work as a child of the current span."""
        span = self._tracer.start_span(name, kind=_KINDS[kind], attributes=dict(attributes))
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            return await _finish(span, work, result)

    @contextmanager
    def _under(self, span: Span) -> Iterator[None]:
        token = enter(self)
        try:
            with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            leave(token)


async def _finish(span: Span, work: Awaitable[T], result: Callable[[T], SpanResult] | None) -> T:
    """Do the work, and record its result on the span. An exception is recorded by its type, never by its text."""
    try:
        value = await work
    except BaseException as error:
        # A failed exchange has a more precise fault than its type.
        kind = str(getattr(error, "fault", "")) or type(error).__name__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))
        raise
    if result is not None:
        span_result = result(value)
        span.set_attributes(dict(span_result.attributes))
        if span_result.error:
            span.set_status(Status(StatusCode.ERROR, span_result.error))
    return value


def _carrier(metadata: Any) -> dict[str, str]:
    wanted = ("traceparent", "tracestate")
    return {key: value for key, value in metadata or () if key in wanted and isinstance(value, str)}
