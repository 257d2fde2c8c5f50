"""The tracer of the current task. OpenTelemetry is imported only where [traces] is configured.

The RPC interceptor and the callback handler start a trace. Other packages ask for the tracer here, and get None where
tracing is not configured or the trace is not sampled.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")

Attributes = Mapping[str, str | int | float | bool]
"""Span attributes: names of OpenTelemetry's semantic conventions, or names of log fields. They hold no secrets."""

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


class Tracer(Protocol):
    """Starts spans: gateway.telemetry.otel, where [traces] is configured."""

    def rpc(self, method: str, behavior: Callable[[Any, Any], Awaitable[T]]) -> Callable[[Any, Any], Awaitable[T]]: ...

    def rpc_failed(self, code: str, attributes: Attributes = NOTHING, message: str = "") -> None: ...

    async def callback(
        self, name: str, work: Awaitable[T], *, attributes: Attributes, result: Callable[[T], SpanResult]
    ) -> T: ...

    async def span(
        self,
        name: str,
        work: Awaitable[T],
        *,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes = NOTHING,
        result: Callable[[T], SpanResult] | None = None,
    ) -> T: ...

    async def close(self) -> None: ...


_ACTIVE: ContextVar[Tracer | None] = ContextVar("tracer", default=None)

active = _ACTIVE.get
"""Return the tracer of the current task; None where the task is not traced."""

enter, leave = _ACTIVE.set, _ACTIVE.reset


def in_span(name: str, work: Awaitable[T], attributes: Attributes = NOTHING) -> Awaitable[T]:
    """Return the work wrapped in a span of the current trace; the work itself where there is no trace."""
    tracer = _ACTIVE.get()
    return work if tracer is None else tracer.span(name, work, attributes=attributes)
