"""OpenTelemetry's traces of calls and callbacks: where the time of one of them went.

A caller's trace is taken on (W3C traceparent). None is sent to providers: it is no business of theirs. Spans say no
exception's text and no URL with a callback's key, and quote a provider only masked.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
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
from gateway.telemetry.tracing import NOTHING, Attributes, Kind, Told, enter, leave

T = TypeVar("T")

EXPORT_S = 5.0
"""Seconds that the collector has to take a batch, all tries together."""

FLUSH_S = 1.5
"""Seconds that a gateway which stops waits for the collector to take the last ones."""

_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that are a server's fault, by the semantic conventions for gRPC."""

_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_OF_THE_LOG = ("request_id", "provider")
_W3C = TraceContextTextMapPropagator()


def sent_to(endpoint: str) -> SpanProcessor:
    """Sends spans in batches, from a thread, to an OTLP/HTTP collector whose base URL this is."""
    url = endpoint if endpoint.endswith("/v1/traces") else f"{endpoint}/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=EXPORT_S))


class Traces:
    """The traces of one gateway. `sample_ratio` of those are told that no caller has decided on."""

    def __init__(self, processor: SpanProcessor, sample_ratio: float = 1.0) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": "session-gateway", "service.version": _version()}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("session-gateway")

    async def close(self) -> None:
        """Send what is left. A collector that does not take it holds nothing up."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="traces-flush", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), FLUSH_S)

    def rpc(self, method: str, behavior: Callable[[Any, Any], Awaitable[T]]) -> Callable[[Any, Any], Awaitable[T]]:
        """A gRPC method ('/package.Service/Method'), each call of it a trace, or a part of its caller's."""
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
                    words = bound()
                    span.set_attributes({key: str(words[key]) for key in _OF_THE_LOG if key in words})
                span.set_attribute("rpc.status_code", "OK")
                return response

        return call

    def rpc_failed(self, code: str, attributes: Attributes = NOTHING, message: str = "") -> None:
        """The call whose span is the present one ends with this status."""
        span = trace.get_current_span()
        span.set_attributes({"rpc.status_code": code, **{k: v for k, v in attributes.items() if v}})
        if code in _SERVER_ERRORS:
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, message))

    async def callback(self, name: str, work: Awaitable[T], *, attributes: Attributes, told: Callable[[T], Told]) -> T:
        """A provider's callback, as a trace of its own: what a stranger says of traces is not believed."""
        span = self._tracer.start_span(name, Context(), SpanKind.SERVER, dict(attributes))
        if not span.is_recording():
            return await work
        with self._under(span):
            return await _ended(span, work, told)

    async def around(
        self,
        name: str,
        work: Awaitable[T],
        *,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes = NOTHING,
        told: Callable[[T], Told] | None = None,
    ) -> T:
        """Work that is a part of the present span."""
        span = self._tracer.start_span(name, kind=_KINDS[kind], attributes=dict(attributes))
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            return await _ended(span, work, told)

    @contextmanager
    def _under(self, span: Span) -> Iterator[None]:
        token = enter(self)
        try:
            with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            leave(token)


async def _ended(span: Span, work: Awaitable[T], told: Callable[[T], Told] | None) -> T:
    """Do the work, and say on its span what came of it. Of an exception only its kind is said, never its text."""
    try:
        done = await work
    except BaseException as error:
        # What failed with a word of its own, such as an exchange, is told by that.
        kind = str(getattr(error, "fault", "")) or type(error).__name__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))
        raise
    if told is not None:
        end = told(done)
        span.set_attributes(dict(end.attributes))
        if end.error:
            span.set_status(Status(StatusCode.ERROR, end.error))
    return done


def _carrier(metadata: Any) -> dict[str, str]:
    wanted = ("traceparent", "tracestate")
    return {key: value for key, value in metadata or () if key in wanted and isinstance(value, str)}


def _version() -> str:
    try:
        return version("session-gateway")
    except PackageNotFoundError:  # run from its sources
        return "unknown"
