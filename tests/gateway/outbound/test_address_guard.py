"""Only public hosts may be providers, unless the configuration allows others."""

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.address_guard import (
    AddressRefused,
    ensure_public_peer,
    is_private,
    literal_private_address,
    resolve_public,
)

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0.0.0.0",  # noqa: S104  # an address to reject, not one to bind
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:808:808::f7f7:f7f7",
    "::127.0.0.1",
]
PUBLIC = ["8.8.8.8", "159.203.93.24", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """Private, loopback, link-local, unspecified, multicast and reserved addresses are private in every notation."""
    assert is_private(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """A public address is public in IPv6 notation too."""
    assert not is_private(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_counts_as_itself(address: IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 notations of an IPv4 address are private exactly where it is; Teredo's always are."""
    embedded = [0xFFFF << 32 | int(address), 0x2002 << 112 | int(address) << 80, 0x64FF9B << 96 | int(address)]
    assert {is_private(str(IPv6Address(each))) for each in embedded} == {is_private(str(address))}
    assert is_private(str(IPv6Address(0x20010000 << 96 | int(address) ^ 0xFFFFFFFF)))


@pytest.mark.parametrize(
    ("base_url", "found"),
    [
        ("http://127.0.0.1:8080/api", "127.0.0.1"),
        ("https://[::1]/", "::1"),
        ("http://[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1"),
        ("http://127.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://8.8.8.8/", None),
        ("https://provider.example/", None),
        ("https://bücher.example/", None),
    ],
)
def test_private_literals_in_a_base_url(base_url: str, found: str | None) -> None:
    """An address in the base URL is checked without a DNS query; a name is left to the resolver."""
    assert literal_private_address(base_url) == found


async def test_the_resolver_rejects_a_name_of_this_host() -> None:
    """A name that resolves only to loopback is rejected, and the error names both."""
    with pytest.raises(AddressRefused, match=r"localhost resolves to (127\.0\.0\.1|::1)"):
        await resolve_public("localhost", 80)


async def test_a_connected_socket_has_a_public_peer() -> None:
    """A socket that is connected to this host is rejected, whatever address it was given: 0.0.0.0 is this host too."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = ("0.0.0.0", listening.getsockname()[1])  # noqa: S104 - connected to, not bound
        with (
            socket.create_connection(address) as connected,
            pytest.raises(AddressRefused, match=r"127\.0\.0\.1"),
        ):
            ensure_public_peer("provider.example", connected)
    with socket.socket() as unconnected, pytest.raises(OSError, match="not connected"):
        ensure_public_peer("provider.example", unconnected)
