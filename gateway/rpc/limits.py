"""What callers together may use of a gRPC server."""

from dataclasses import dataclass

CONNECTION_AGE_GRACE_S = 30.0
"""What is under way on a connection when its age is reached has this long to end."""

CONNECTIONS = 1000
"""At once; more are hung up on."""

HANDSHAKE_S = 10.0
"""For a peer to finish TLS's handshake, and then to open HTTP/2."""

KEEPALIVE_TIME_S = 60.0
"""Then a peer is asked whether it is there."""

KEEPALIVE_TIMEOUT_S = 20.0
"""Then it is not."""


METADATA_BYTES = 16 * 1024
"""Of one request's metadata, names and 32 bytes for each field included; more is rejected, and less never."""

MIN_PING_INTERVAL_S = 5.0
"""A client that sends pings more often on a stream without messages is disconnected. Many send one every 10 s."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Health and reflection are bounded by their connections alone. See [grpc] of the configuration."""

    calls: int = 1000
    """Under way at once; streams not counted."""
    event_streams: int = 1000
    message_bytes: int = 1024 * 1024
    """Of one request."""
    connection_age_s: float | None = None
    """Seconds, give or take a tenth; None for never."""

    @property
    def calls_on_a_connection(self) -> int:
        """What a peer is told that it may have open at once; beyond it a client waits by itself, and in silence.

        So it is more than all that may be under way: whoever has one connection is refused in words too.
        """
        return self.calls + self.event_streams + _BESIDE


_BESIDE = 100
"""Watchers of health, reflection, and what is being refused."""
