"""Source addresses: how logs and limits group them."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

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
