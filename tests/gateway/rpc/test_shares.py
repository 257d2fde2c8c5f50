"""Keys of connections, and the addresses in them."""

import pytest

from gateway.rpc.shares import address_of, connection_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("unix:", "unix:"),
        ("unix:/run/gateway.sock", "unix:/run/gateway.sock"),
        ("", ""),
    ],
)
def test_an_address_is_without_its_port(peer: str, address: str) -> None:
    """Also where a server encodes the brackets; and only connections over IP have a key."""
    assert address_of(peer) == address
    assert connection_of(peer) == (peer if address != peer else "")
