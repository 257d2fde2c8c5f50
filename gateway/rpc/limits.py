"""Limits on what all callers of a gRPC server together can use."""

from dataclasses import dataclass

CONNECTION_AGE_GRACE_S = 30.0
"""Calls on a connection that has reached its maximum age have this long to end."""

CONNECTION_IDLE_S = 300.0
"""A connection without a call in flight is closed after this time, gracefully: its client connects again."""

RECEIVE_TIMEOUT_S = 5.0
"""From the headers of a call to the end of its request."""

LOOKAHEAD_BYTES = 16 * 1024
"""Of one stream, before the handler reads. Common requests are smaller."""

MAX_INCOMPLETE = 1000
"""Requests that are being received. When another one begins, the oldest is rejected."""

MAX_INCOMPLETE_PER_CONNECTION = 100
"""The same for one connection."""

HANDSHAKE_TIMEOUT_S = 10.0
"""Maximum time from the connection to the end of the TLS handshake and of HTTP/2's first frames."""

KEEPALIVE_TIME_S = 60.0
"""A connection that is idle for this long is pinged."""

KEEPALIVE_TIMEOUT_S = 20.0
"""A connection is closed when a ping is not answered within this time."""

MAX_METADATA_BYTES = 16 * 1024
"""Of one request: names, values, and 32 bytes for each field. Every request below it is accepted, none above it."""

MIN_PING_INTERVAL_S = 5.0
"""A client that pings more often on a stream without messages is disconnected. Many clients ping every 10 s."""

FLUSH_S = 0.2
"""Time for the last answers to be sent when a server stops."""

MAX_HEALTH_WATCHES = 1000
"""Open at once; a further one is rejected."""

MAX_HEALTH_WATCHES_PER_CONNECTION = 100
"""A client can watch each provider."""

MAX_REFLECTION_STREAMS = 100
"""Open at once; a further one is rejected."""

MAX_REFLECTION_STREAMS_PER_CONNECTION = 10

_EXTRA_STREAMS = 100
"""On one connection: watches of health, reflection, and calls that are being rejected."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Limits from [grpc] of the configuration. They do not apply to health and reflection."""

    calls: int = 1000
    """In flight at once, without event streams."""
    event_streams: int = 1000
    calls_per_connection: int = 500
    event_streams_per_connection: int = 500
    message_bytes: int = 64 * 1024
    """Of one request."""
    connections: int = 1000
    """Open at once; a further one is closed when it arrives."""
    connection_age_s: float | None = None
    """Plus or minus a tenth; None for no maximum."""

    @property
    def calls_on_a_connection(self) -> int:
        """The maximum of concurrent HTTP/2 streams of one connection.

        A client at this maximum waits without an error. It is above the other limits, so that a client with one
        connection gets GATEWAY_BUSY instead.
        """
        calls = min(self.calls, self.calls_per_connection)
        return calls + min(self.event_streams, self.event_streams_per_connection) + _EXTRA_STREAMS
