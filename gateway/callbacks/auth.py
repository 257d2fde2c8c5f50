"""Who may call: a key in the URL, and where configured the address that the call comes from.

Nothing that is turned away learns why: an unknown provider costs the same comparisons as a wrong key.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from adapters.contract import Secret

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What opens the way to one provider's callbacks: any of `keys`, from any of `sources` (from anywhere if empty)."""

    keys: tuple[Secret, ...]
    sources: tuple[Network, ...] = ()


class CallbackAuthenticator:
    """Judges callers by the keys and networks of one configuration; another one gets a guard of its own.

    Raises ValueError for an empty key, which would open to anybody.
    """

    def __init__(self, doors: Mapping[str, AccessRule], trusted_proxies: Sequence[Network] = ()) -> None:
        # As many digests for everyone, filled up with ones that nobody's key has: the work tells nothing.
        width = max((len(door.keys) for door in doors.values()), default=1)
        self._digests = {name: _padded(_key_digests(name, door), width) for name, door in doors.items()}
        self._nobodys_digests = _padded((), width)
        self._sources = {name: door.sources for name, door in doors.items()}
        self._trusted_proxies = tuple(trusted_proxies)

    def authorize(self, provider: str, key: str, caller: Address | None) -> bool:
        """Whether this key, from this address, may tell us something in the provider's name."""
        given = _digest(key)
        # Every comparison is made before any is looked at.
        matches = [hmac.compare_digest(given, known) for known in self._digests.get(provider, self._nobodys_digests)]
        return any(matches) and _within(caller, self._sources[provider])

    def caller(self, peer: str | None, forwarded_for: Sequence[str] = ()) -> Address | None:
        """The address that a request comes from, as far as trusted proxies vouch for it; None where nobody can tell.

        `peer` is the other end of the connection, `forwarded_for` the X-Forwarded-For headers in their order. They are
        read from the right, since each proxy appends the address that it saw; what stands left of the first address
        that is not a trusted proxy is the caller's own claim.
        """
        hops = [hop for line in forwarded_for for hop in line.split(",")]
        address = _address(peer or "")
        while address is not None and hops and any(address in proxies for proxies in self._trusted_proxies):
            address = _address(hops.pop().strip())
        return address


def _within(address: Address | None, networks: tuple[Network, ...]) -> bool:
    if not networks:
        return True
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _key_digests(provider: str, door: AccessRule) -> tuple[bytes, ...]:
    keys = tuple(key.reveal() for key in door.keys)
    if not all(keys):
        raise ValueError(f"a callback key of provider {provider} is empty: set it to a long random string")
    return tuple(_digest(key) for key in keys)


def _digest(key: str) -> bytes:
    # Digests have one length, so that not even a key's length shows in the time. A URL may hold half a character.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _padded(digests: tuple[bytes, ...], width: int) -> tuple[bytes, ...]:
    return digests + tuple(secrets.token_bytes(32) for _ in range(width - len(digests)))
