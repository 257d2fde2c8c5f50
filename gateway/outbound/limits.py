"""What bounds the calls to one provider. All of it can change while the gateway runs."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """How much a provider is asked at once, and how fast."""

    max_concurrent_calls: int = 100
    """Requests under way at a time, and so connections."""
    max_queued_calls: int = 100
    """Requests that wait for one of those places; one more is refused at once."""
    calls_per_s: float | None = None
    """Requests a second, where the vendor's contract bounds them."""
    connect_timeout_s: float = 2.0
    """Seconds to get a connection: resolving, connecting and the TLS handshake together."""
    attempt_timeout_s: float | None = None
    """Seconds that one request may take, so that a second one has time; None gives it all that the caller gives."""


class RetryLimits(msgspec.Struct, frozen=True):
    """How often a call is tried, and what lies between. The budget over all calls is not a matter of taste: see
    `gateway.outbound.retry`.
    """

    attempts: int = 3
    """At the most, for one call; 1 tries nothing again."""
    backoff_s: float = 0.05
    """Seconds before the second attempt, doubled before each one after it; each time a random part of it is waited."""
    max_backoff_s: float = 1.0
    """Seconds that are never exceeded."""


class BreakerLimits(msgspec.Struct, frozen=True):
    """When a provider is held to be sick, and how it is asked whether it is well again."""

    window_s: float = 10.0
    """Seconds that are looked back on."""
    min_requests: int = 50
    """Fewer requests in the window prove nothing."""
    failure_ratio: float = 0.5
    """The part of them that failed from which on the circuit opens."""
    open_s: float = 5.0
    """Seconds for which nothing is sent; then one request is let through to see."""
    probe_s: float = 5.0
    """Seconds after which that request is given up, and another one let through."""
