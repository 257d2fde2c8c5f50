"""Source addresses: how they are grouped, and which networks they are in."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SUBNET = 64
"""Bits of an IPv6 prefix that one caller has: the other bits are its own choice."""


@lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """An address, an IPv4-mapped one as IPv4; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=1024)
def source_of(text: str) -> str:
    """What limits and samples are kept by: the address of IPv4, the /64 of IPv6, '' of what is no address."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), _SUBNET), strict=False))
    return "" if address is None else str(address)


class NetworkSet:
    """Networks with a look-up that does not depend on their number. Hundreds of providers have thousands."""

    __slots__ = ("_prefixes",)

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        """The networks' first bits, by IP version and the number of bits that are not theirs."""
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            known = self._prefixes.setdefault((network.version, shift), set())
            known.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._prefixes)

    def __contains__(self, address: Address | None) -> bool:
        """Whether the address is in one of them."""
        return address is not None and any(
            version == address.version and int(address) >> shift in known
            for (version, shift), known in self._prefixes.items()
        )
