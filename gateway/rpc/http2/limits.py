"""What a peer may use of us."""

from dataclasses import dataclass

from gateway.rpc.limits import CONNECTION_AGE_GRACE_S, HANDSHAKE_S, KEEPALIVE_TIME_S, KEEPALIVE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection. Times in seconds."""

    calls: int = 1000
    """At once on a connection, those that it has given up while they still end included."""
    message_bytes: int = 4 * 1024 * 1024
    """Of a request's message: grpcio's limit, where it is given none."""
    stream_window: int = 262_144
    connection_window: int = 1_048_576
    held_bytes: int = 16 * 1024 * 1024
    """Of requests on a connection that are not whole yet."""
    idle_frames: int = 10_000
    """A second, of those that carry no part of a call: pings, settings, resets, priorities, empty pieces."""
    preface_s: float = HANDSHAKE_S
    request_s: float = 30.0
    """For a request to arrive whole, and for its answer to be taken, where the caller set no deadline."""
    silence_s: float = KEEPALIVE_TIME_S
    """Then the peer is asked whether it is there."""
    answer_s: float = KEEPALIVE_TIMEOUT_S
    """Then it is not."""
    age_s: float | None = None
    """Then the connection is ended gracefully, give or take a tenth, so that those begun together do not end so."""
    age_grace_s: float = CONNECTION_AGE_GRACE_S
    """Then what is still under way on it is cut off."""
    unsent_bytes: int = 1_048_576
    """Waiting for a peer that does not read; more is not taken from it until it reads."""
