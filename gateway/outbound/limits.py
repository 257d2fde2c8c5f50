"""The limits of the calls to one provider, and of its callbacks. All of them can change while the gateway runs."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """How many calls a provider receives, how fast, and how many callbacks of it are processed at a time."""

    max_concurrent_calls: int = 100
    """Requests in flight at a time, and so connections."""
    max_queued_calls: int = 100
    """Requests that wait for one of those places; one more is rejected at once."""
    max_concurrent_callbacks: int = 400
    """Callbacks in flight at a time; one more is answered at once that it must be sent again."""
    calls_per_s: float | None = None
    """Requests a second, where the vendor's contract limits them."""
    connect_timeout_s: float = 2.0
    """Seconds to get a connection: resolving, connecting and the TLS handshake together."""
    attempt_timeout_s: float | None = None
    """Seconds that one request may take, so that another one has time; None allows all of the caller's time."""


class RetryLimits(msgspec.Struct, frozen=True):
    """How often a call is tried, and the delays. The budget of all calls together is fixed: see
    `gateway.outbound.retry`.
    """

    attempts: int = 3
    """At most, for one call; 1 disables retries."""
    backoff_s: float = 0.05
    """Seconds before the second attempt, doubled before each later one. The delay is a random part of it."""
    max_backoff_s: float = 1.0
    """Seconds that a delay never exceeds."""


class BreakerLimits(msgspec.Struct, frozen=True):
    """When the circuit opens, and how it closes again."""

    window_s: float = 10.0
    """Seconds over which requests are counted."""
    min_requests: int = 50
    """Requests in the window below which the circuit does not open."""
    failure_ratio: float = 0.5
    """The part of them that failed at which the circuit opens."""
    open_s: float = 5.0
    """Seconds for which nothing is sent; then one request is sent as a probe."""
    probe_s: float = 5.0
    """Seconds after which another probe is sent where the first is not answered."""
