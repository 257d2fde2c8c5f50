"""Only public hosts may be providers, unless the configuration allows others."""

import pytest

from gateway.outbound.address_guard import AddressRefused, is_private, literal_private_address, resolve_public

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
    "2002:7f00:1::",
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
