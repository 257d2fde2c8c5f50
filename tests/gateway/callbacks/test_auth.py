"""Authentication by key and address, without a server."""

import hmac
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import integers, ip_addresses

from adapters.contract import Secret
from gateway.callbacks.auth import AccessRule, CallbackAuthenticator
from gateway.telemetry.sources import parse_address

CALLER = ip_address("192.0.2.1")
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def authenticator() -> CallbackAuthenticator:
    return CallbackAuthenticator(
        {
            "two": AccessRule((Secret("old-key"), Secret("new-key"))),
            "one": AccessRule((Secret("schlüssel"),)),
            "none": AccessRule(()),
            "fenced": AccessRule((Secret("fenced-key"),), (ip_network("192.0.2.0/28"), ip_network("2001:db8::/64"))),
        },
        PROXIES,
    )


@pytest.mark.parametrize(
    ("provider", "key", "accepted"),
    [
        ("two", "old-key", True),
        ("two", "new-key", True),
        ("two", "new-ke", False),
        ("two", "new-keyy", False),
        ("two", "NEW-KEY", False),
        ("two", "", False),
        ("two", "schlüssel", False),
        ("one", "schlüssel", True),
        ("one", "schl\udcfcssel", False),
        ("one", "\ud800", False),
        ("none", "", False),
        ("none", "old-key", False),
        ("unknown", "old-key", False),
        ("unknown", "", False),
        ("", "", False),
        ("TWO", "old-key", False),
    ],
)
def test_only_a_provider_s_own_keys_are_authorized(provider: str, key: str, accepted: bool) -> None:
    """Each of a provider's keys is accepted for it and no other text is, and no text breaks the comparison."""
    assert bool(authenticator().authorize(provider, key, CALLER)) is accepted


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The lengths of all values that are compared in constant time."""
    made: list[tuple[int, int]] = []
    compare: Any = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        made.append((len(a), len(b)))
        return bool(compare(a, b))

    monkeypatch.setattr(hmac, "compare_digest", counted)
    return made


@pytest.mark.parametrize("provider", ["two", "one", "none", "fenced", "unknown", ""])
@pytest.mark.parametrize("key", ["old-key", "wrong", "", "x" * 500])
def test_every_caller_takes_the_same_comparisons(provider: str, key: str, comparisons: list[tuple[int, int]]) -> None:
    """An unknown provider, a wrong key and a right key take as many comparisons of the same lengths."""
    authenticator().authorize(provider, key, CALLER)
    assert comparisons == [(32, 32), (32, 32)]


@pytest.mark.parametrize(
    ("caller", "accepted"),
    [
        ("192.0.2.15", True),
        ("192.0.2.16", False),
        ("::ffff:192.0.2.15", True),
        ("::ffff:192.0.2.16", False),
        ("2001:db8::7", True),
        ("2001:db8:0:1::7", False),
        ("fe80::1%eth0", False),
        (None, False),
        ("", False),
        ("not an address", False),
    ],
)
def test_an_allow_list_accepts_only_its_networks(caller: str | None, accepted: bool) -> None:
    """With sources configured, the right key is accepted only from there, and never from an unreadable address."""
    subject = authenticator()
    assert bool(subject.authorize("fenced", "fenced-key", subject.caller(caller))) is accepted
    assert not subject.authorize("fenced", "wrong", subject.caller(caller))
    assert subject.authorize("one", "schlüssel", subject.caller(caller))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "caller"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9", "198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7 ,10.0.0.2",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7", "fd00::1"), "198.51.100.7"),
        ("::ffff:10.0.0.1", ("::ffff:198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("198.51.100.7, unknown",), None),
        ("10.0.0.1", ("198.51.100.7, ,",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7:4711, [fd00::1]:443, [::ffff:10.0.0.2]",), "198.51.100.7"),
        ("10.0.0.1", ("10.0.0.3",), "10.0.0.3"),
        (None, ("198.51.100.7",), None),
    ],
)
def test_forwarded_addresses_count_only_from_trusted_proxies(
    peer: str | None, forwarded_for: tuple[str, ...], caller: str | None
) -> None:
    """X-Forwarded-For is read from the right, and each address counts only if a trusted proxy reported it."""
    assert authenticator().caller(peer, forwarded_for) == (ip_address(caller) if caller else None)


@given(ip_addresses(), integers(0, 99_999))
def test_a_forwarded_address_may_have_a_port(address: IPv4Address | IPv6Address, port: int) -> None:
    """With or without brackets and a port it is the same address; with a port above 65535 it cannot be read."""
    plain = f"[{address}]" if address.version == 6 else str(address)
    expected = parse_address(str(address))
    for hop in (str(address), plain, f"{plain}:{min(port, 65535)}"):
        assert authenticator().caller("10.0.0.1", (hop,)) == expected
    if port > 65535:
        assert authenticator().caller("10.0.0.1", (f"{plain}:{port}",)) is None


@pytest.mark.parametrize(
    "hop",
    [
        *(
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "[2001:db8::1]:",
            "[2001:db8::1]:x",
            "[2001:db8::1]:443x",
        ),
        *("[192.0.2.1]", "[192.0.2.1]:443", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:443 x", "192.0.2.1:-1"),
        *(
            "192.0.2:443",
            "[[2001:db8::1]]",
            "[2001:db8::1]:443:443",
            "192.0.2.1:443:443",
            "192.0.2.1:\u0664",
            "192.0.2.1:123456",
        ),
        *('"192.0.2.1"', "for=192.0.2.1", "unknown", "_hidden", "[]", ":443", "[:]:443"),
    ],
)
def test_what_is_no_address_cannot_be_read(hop: str) -> None:
    """An open bracket, text behind it, and a port that is none: nobody is identified, so an allow-list refuses."""
    assert authenticator().caller("10.0.0.1", (f"198.51.100.7, {hop}",)) is None


def test_an_empty_key_is_refused_at_the_start() -> None:
    """An empty key, which anybody could guess, is a ValueError."""
    with pytest.raises(ValueError, match="callback key of provider monaco is empty"):
        CallbackAuthenticator({"monaco": AccessRule((Secret("key"), Secret("")))})
