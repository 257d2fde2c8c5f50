"""Sampling of lines: the first of each source, then one of each interval."""

import pytest

from gateway.telemetry import sampling
from gateway.telemetry.sampling import INTERVAL_S, SourceSampler


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_line_of_a_source_and_one_of_each_interval_are_logged() -> None:
    """A source is logged again after the interval, with the number of lines between."""
    clock = Clock()
    sampler = SourceSampler(clock)
    assert [sampler.admit(f"ipv4:192.0.2.1:{port}") for port in range(4)] == [0, None, None, None]
    assert sampler.admit("ipv4:192.0.2.2:1") == 0
    clock.now += INTERVAL_S - 1
    assert sampler.admit("ipv4:192.0.2.1:9") is None
    clock.now += 1
    assert [sampler.admit("ipv4:192.0.2.1:9") for _ in range(2)] == [4, None]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ipv4:192.0.2.1:1", "ipv4:192.0.2.1:2", True),
        ("ipv4:192.0.2.1:1", "ipv4:192.0.2.2:1", False),
        ("ipv6:%5B2001:db8::1%5D:1", "ipv6:%5B2001:db8::ffff:2%5D:2", True),
        ("ipv6:[2001:db8::1]:1", "ipv6:[2001:db8::2]:1", True),
        ("ipv6:[2001:db8::1]:1", "ipv6:[2001:db8:0:1::1]:1", False),
        ("ipv6:[::ffff:192.0.2.1]:1", "ipv6:[::ffff:192.0.2.2]:1", False),
        ("unix:", "unix:", True),
        ("", "", True),
    ],
)
def test_a_source_is_an_address_or_an_ipv6_network(one: str, other: str, same: bool) -> None:
    """Ports do not matter, and all addresses of an IPv6 /64 are one source."""
    sampler = SourceSampler()
    assert sampler.admit(one) == 0
    assert (sampler.admit(other) is None) == same


def test_the_number_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above it the source that was logged the longest ago is forgotten."""
    monkeypatch.setattr(sampling, "MAX_SOURCES", 2)
    sampler = SourceSampler()
    for host in range(5):
        assert sampler.admit(f"ipv4:192.0.2.{host}:1") == 0
    assert len(sampler._sources) == 2
    assert sampler.admit("ipv4:192.0.2.4:1") is None
