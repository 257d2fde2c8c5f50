"""Sampling of log lines that anyone on the network can cause, so that a flood of them cannot fill a disk."""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

INTERVAL_S = 60.0
"""Of one source at most one line is logged in this time."""

MAX_SOURCES = 4096
"""Sources that are remembered. A line of one that was forgotten is logged again."""

_PREFIX = 64
"""Bits of an IPv6 network that one source can use as it likes."""


class SourceSampler:
    """Decides which lines of a source are logged: the first one, and then one of each interval."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: dict[str, tuple[float, int]] = {}
        """When a line of it was logged last, and how many were not since; the longest ago first."""

    def admit(self, peer: str) -> int | None:
        """How many lines of this peer were not logged since the last one; None if this one is not to be logged.

        `peer` is as gRPC names it, such as `ipv4:192.0.2.1:4711`. Its port does not matter.
        """
        source, now = _source(peer), self._clock()
        logged_at, suppressed = self._sources.get(source, (-INTERVAL_S, 0))
        if source in self._sources and now - logged_at < INTERVAL_S:
            self._sources[source] = (logged_at, suppressed + 1)
            return None
        self._sources.pop(source, None)
        if len(self._sources) >= MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[source] = (now, 0)
        return suppressed


def _source(peer: str) -> str:
    """The address of a peer, or the network of an IPv6 one, where it can have any number of addresses."""
    host = unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]") or peer
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address) or address.ipv4_mapped:
        return host
    return str(IPv6Network((address, _PREFIX), strict=False))
