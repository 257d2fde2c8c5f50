"""Source addresses: what is one source."""

import pytest

from gateway.telemetry.sources import source_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unix:", "no address", True),
    ],
)
def test_a_source_is_an_address_or_an_ipv6_network(one: str, other: str, same: bool) -> None:
    """All addresses of an IPv6 /64 are one source, and what is no address is one."""
    assert (source_of(one) == source_of(other)) == same
