"""Creates the tracer that [traces] configures. OpenTelemetry is imported only there."""

from importlib.util import find_spec

from gateway.telemetry.tracing import Tracer

EXTRA = "session-gateway[traces]"
"""The extra that installs OpenTelemetry."""


def installed() -> bool:
    """Return whether the packages that `open_traces` imports are installed."""
    try:
        return find_spec("opentelemetry.sdk.trace") is not None and (
            find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
        )
    except ModuleNotFoundError:
        return False


def open_traces(endpoint: str, sample_ratio: float) -> Tracer | None:
    """Return a tracer that exports to an OTLP/HTTP collector; None without an endpoint. Raises ImportError."""
    if not endpoint:
        return None
    from gateway.telemetry.otel import OtelTracer, otlp_exporter  # noqa: PLC0415 - an extra, which may not be installed

    return OtelTracer(otlp_exporter(endpoint), sample_ratio)
