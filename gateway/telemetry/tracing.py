"""The tracer of the current task. OpenTelemetry is imported only where [traces] is configured.

The RPC interceptor and the callback handler start a trace. Other packages ask for the tracer here, and get None where
tracing is not configured or the trace is not sampled.
"""

from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from enum import Enum, auto
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from gateway.telemetry.otel import OtelTracer

T = TypeVar("T")

Attributes = Mapping[str, str | int | float | bool]
"""Span attributes: names of OpenTelemetry's semantic conventions, or names of log fields. They hold no secrets."""

EXTRA = "session-gateway[traces]"
"""The extra that installs OpenTelemetry."""

NOTHING: Attributes = {}


class Kind(Enum):
    """OpenTelemetry's span kinds, as far as they are used."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()


class SpanResult(msgspec.Struct, frozen=True):
    """Attributes that a span gets at its end. `error` is empty where the work succeeded."""

    attributes: Attributes = NOTHING
    error: str = ""


_ACTIVE: ContextVar["OtelTracer | None"] = ContextVar("tracer", default=None)

active = _ACTIVE.get
"""Return the tracer of the current task; None where the task is not traced."""

enter, leave = _ACTIVE.set, _ACTIVE.reset


def in_span(name: str, work: Awaitable[T], attributes: Attributes = NOTHING) -> Awaitable[T]:
    """Return the work wrapped in a span of the current trace; the work itself where there is no trace."""
    tracer = _ACTIVE.get()
    return work if tracer is None else tracer.span(name, work, attributes=attributes)


def installed() -> bool:
    """Return whether the packages that `open_traces` imports are installed."""
    try:
        return find_spec("opentelemetry.sdk.trace") is not None and (
            find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
        )
    except ModuleNotFoundError:
        return False


def open_traces(endpoint: str, sample_ratio: float) -> "OtelTracer | None":
    """Return a tracer that exports to an OTLP/HTTP collector; None without an endpoint. Raises ImportError."""
    if not endpoint:
        return None
    from gateway.telemetry.otel import OtelTracer, otlp_exporter  # noqa: PLC0415 - without traces OpenTelemetry need not be installed

    return OtelTracer(otlp_exporter(endpoint), sample_ratio)
