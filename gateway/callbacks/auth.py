"""Authenticates callbacks: by the key in the URL and, if configured, by the source address.

A rejected caller learns nothing: an unknown provider takes the same comparisons as a wrong key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.contract import Secret
from gateway.callbacks.sources import Network, NetworkSet
from gateway.telemetry.sources import Address, parse_address

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})")
"""`[IPv6]`, `[IPv6]:port` or `IPv4:port`."""

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Allows callbacks of one provider with any of `keys`, from any of `sources` (from anywhere if there are none)."""

    keys: tuple[Secret, ...]
    sources: tuple[Network, ...] = ()


class CallbackAuthenticator:
    """Checks callers against the rules of one configuration. Raises ValueError for an empty key."""

    def __init__(self, rules: Mapping[str, AccessRule], trusted_proxies: Sequence[Network] = ()) -> None:
        # Every provider has as many digests, filled up with random ones, so that the time shows nothing.
        width = max((len(rule.keys) for rule in rules.values()), default=1)
        self._digests = {name: _padded(_key_digests(name, rule), width) for name, rule in rules.items()}
        self._dummy_digests = _padded((), width)
        self._sources = {name: rule.sources for name, rule in rules.items()}
        self._trusted_proxies = NetworkSet(trusted_proxies)

    def authorize(self, provider: str, key: str, caller: Address | None) -> int:
        """The position of this key, from 1; 0 if a caller with this key and address may not send callbacks."""
        given = _digest(key)
        # All comparisons are made before the first result is used.
        matches = [hmac.compare_digest(given, known) for known in self._digests.get(provider, self._dummy_digests)]
        if not any(matches) or not _within(caller, self._sources[provider]):
            return 0
        return matches.index(True) + 1

    def caller(self, peer: str | None, forwarded_for: Sequence[str] = ()) -> Address | None:
        """The address that a request comes from, as far as trusted proxies report it; None if it cannot be read.

        `peer` is the other end of the connection, `forwarded_for` the X-Forwarded-For headers in order. They are read
        from the right, because each proxy appends the address that it saw. Left of the first address that is no trusted
        proxy is only the caller's claim.
        """
        hops = [hop.strip(" \t") for line in forwarded_for for hop in line.split(",")]
        address = parse_address(peer or "")
        while hops and address in self._trusted_proxies:
            if hop := hops.pop():  # HTTP's lists may have empty elements
                address = _forwarded_address(hop)
        return address


def _forwarded_address(hop: str) -> Address | None:
    """The address that a proxy saw, which some write with brackets or a port; None if it cannot be read."""
    match = _WITH_PORT.fullmatch(hop)
    if match is None:
        return parse_address(hop)
    in_brackets, port, address, port_of_address = match.groups()
    if int(port or port_of_address or 0) > _MAX_PORT:
        return None
    return parse_address(in_brackets or address)


def _within(address: Address | None, networks: tuple[Network, ...]) -> bool:
    return not networks or (address is not None and any(address in network for network in networks))


def _key_digests(provider: str, rule: AccessRule) -> tuple[bytes, ...]:
    keys = tuple(key.reveal() for key in rule.keys)
    if not all(keys):
        raise ValueError(f"a callback key of provider {provider} is empty: set it to a long random string")
    return tuple(_digest(key) for key in keys)


def _digest(key: str) -> bytes:
    # Digests have one length, so that the time does not show the key's. A URL may hold a lone surrogate.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _padded(digests: tuple[bytes, ...], width: int) -> tuple[bytes, ...]:
    return digests + tuple(secrets.token_bytes(32) for _ in range(width - len(digests)))
