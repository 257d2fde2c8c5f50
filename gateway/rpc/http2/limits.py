"""What a peer may use of us."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection. Times in seconds."""

    calls: int = 1000
    """At once on a connection, those that it has given up while they still end included."""
    stream_window: int = 262_144
    connection_window: int = 1_048_576
    held_bytes: int = 16 * 1024 * 1024
    """Of requests on a connection that are not whole yet."""
    idle_frames: int = 10_000
    """A second, of those that carry no part of a call: pings, settings, resets, priorities, empty pieces."""
    preface_s: float = 10.0
    request_s: float = 30.0
    """For a request to arrive whole, where the caller set no deadline."""
    silence_s: float = 60.0
    """Then the peer is asked whether it is there."""
    answer_s: float = 20.0
    """Then it is not."""
    unsent_bytes: int = 1_048_576
    """Waiting for a peer that does not read; more is not taken from it until it reads."""
