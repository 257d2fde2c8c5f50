"""What is in use at once: in all, and by each connection or caller, so that none of them takes everything."""

from collections import Counter
from urllib.parse import unquote


class Shares:
    """Counts uses by a key. The empty key has no share: only the total limits it."""

    def __init__(self) -> None:
        self.total = 0
        self._by_key: Counter[str] = Counter()

    def used_by(self, key: str) -> int:
        """What the key uses. 0 for the empty key."""
        return self._by_key[key]

    def take(self, key: str) -> None:
        """Begin a use."""
        self.total += 1
        if key:
            self._by_key[key] += 1

    def give_back(self, key: str) -> None:
        """End a use."""
        self.total -= 1
        if key:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]


def connection_of(peer: str) -> str:
    """The key of a connection, from `peer()` of a call; empty on a Unix socket, where all have the same address."""
    return peer if peer.startswith("ipv") else ""


def address_of(peer: str) -> str:
    """The address in `peer()` of a call, such as `ipv6:%5B2001:db8::1%5D:4711`; all of a peer without one."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]") or peer
