"""Which addresses a provider may have. A base URL must not give access to the operator's own network.

They are checked twice: what the name resolved to, before connecting, and the address of the connected socket, before
anything is sent. So a name whose answer changes in between gives no access either.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType

from gateway.outbound.resolver import resolve

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address as an IPv6-only network sees it, in the last 32 bits."""
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that IANA has given to public hosts."""


class AddressRefused(OSError):
    """A name has only addresses that a provider may not have, or a connection was made to one."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} resolves to {address}")
        self.host = host
        self.address = address


def is_private(address: str) -> bool:
    """Whether an IP address is not a public host's: private, loopback, link-local, multicast, reserved…

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) counts as itself. Teredo is private as a whole. Raises
    ValueError for an invalid address.
    """
    parsed = _unwrapped(ip_address(address))
    if isinstance(parsed, IPv6Address) and parsed not in _GLOBAL_UNICAST:
        return True
    return not parsed.is_global or parsed.is_multicast or parsed.is_reserved


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def literal_private_address(base_url: str) -> str | None:
    """The private address in `base_url`, if it has one instead of a host name; otherwise None. Without a DNS query.

    Shortened IPv4 such as `127.1` counts too. Raises ValueError for an invalid URL.
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return host if is_private(host) else None
    except ValueError:
        pass  # not an address, or a shortened one
    try:
        address = socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None
    return address if is_private(address) else None


async def resolve_public(host: str, port: int) -> list[AddrInfoType]:
    """The public addresses of a name. Only they are connected to: there is no second DNS query.

    Raises AddressRefused where there is none, OSError where the name is unknown.
    """
    found = await resolve(host, port)
    public = [address for address in found if not is_private(address[4][0])]
    if not public:
        raise AddressRefused(host, found[0][4][0] if found else "no address")
    return public


def ensure_public_peer(host: str, connected: socket.socket) -> None:
    """Raise AddressRefused where a socket is connected to a private address, and OSError where it is not connected."""
    address = connected.getpeername()[0]
    if is_private(address):
        raise AddressRefused(host, address)
