"""The trace that a task is part of, if it is part of any. OpenTelemetry itself is loaded only where it is configured.

A call or a callback that is traced opens its trace at the door; the rooms behind ask for it here, and find none where
nothing is configured, or where this one was not chosen.
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
"""What a span says, by OpenTelemetry's names where there is one, and by the log's where there is none. No secrets."""

EXTRA = "session-gateway[traces]"
"""What to install for it."""

NOTHING: Attributes = {}


class Kind(Enum):
    """Where a span stands between us and others, as OpenTelemetry has it."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()


class SpanResult(msgspec.Struct, frozen=True):
    """What a span says at its end. `error` says what went wrong, and is empty where nothing did."""

    attributes: Attributes = NOTHING
    error: str = ""


_ACTIVE: ContextVar["OtelTracer | None"] = ContextVar("traces", default=None)

active = _ACTIVE.get
"""The traces that this task's spans belong to; None where nothing is to be told."""

enter, leave = _ACTIVE.set, _ACTIVE.reset


def in_span(name: str, work: Awaitable[T], attributes: Attributes = NOTHING) -> Awaitable[T]:
    """The work, as a span of the trace that this task is part of; as it is where there is none."""
    traces = _ACTIVE.get()
    return work if traces is None else traces.span(name, work, attributes=attributes)


def installed() -> bool:
    """Whether what `open_traces` needs can be imported."""
    try:
        return find_spec("opentelemetry.sdk.trace") is not None and (
            find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
        )
    except ModuleNotFoundError:
        return False


def open_traces(endpoint: str, sample_ratio: float) -> "OtelTracer | None":
    """Traces that are sent to an OTLP/HTTP collector; None for no endpoint. Raises ImportError: see `installed`."""
    if not endpoint:
        return None
    from gateway.telemetry.otel import OtelTracer, sent_to  # noqa: PLC0415 - who has no traces needs no OpenTelemetry

    return OtelTracer(sent_to(endpoint), sample_ratio)
