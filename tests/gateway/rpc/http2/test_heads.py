"""Heads as peers send them, against another implementation of header compression."""

from contextlib import suppress

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.http2 import heads
from gateway.rpc.http2.frames import ConnectionBroken, ErrorCode

BASE = ((":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), ("content-type", "application/grpc"))

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).filter(
    lambda name: not name.endswith("-bin") and name not in {"grpc-timeout", "content-type", "grpc-encoding"}
)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
several = st.lists(st.dictionaries(names, values, max_size=6), min_size=1, max_size=12)


@given(several, st.booleans())
def test_heads_are_read_as_they_were_written(requests: list[dict[str, str]], huffman: bool) -> None:
    """Whatever was said before on the connection, and however the peer writes it; the same ones twice, too."""
    encoder, ours = Encoder(), heads.Heads()
    for request in [*requests, *requests]:
        fields = (*BASE, *request.items())
        opened = ours.read(encoder.encode(fields, huffman=huffman))
        assert opened is not None
        assert opened.head.path == "/a.B/C"
        assert opened.head.metadata == (("content-type", "application/grpc"), *request.items())
        assert opened.timeout_s is None


@given(st.lists(st.sampled_from([0, 30, 100, 4096]), min_size=1, max_size=10), several)
def test_a_peer_may_change_the_size_of_its_table(sizes: list[int], requests: list[dict[str, str]]) -> None:
    """Up to the usual one, at any time."""
    encoder, ours = Encoder(), heads.Heads()
    for size, request in zip(sizes, requests, strict=False):
        encoder.header_table_size = size
        opened = ours.read(encoder.encode((*BASE, *request.items())))
        assert opened is not None
        assert opened.head.metadata[1:] == tuple(request.items())


@given(st.binary(max_size=200))
def test_what_is_no_head_breaks_nothing_but_its_connection(block: bytes) -> None:
    """Any bytes are a head, or none, or the connection's end."""
    with suppress(ConnectionBroken):  # and raises nothing else
        heads.Heads().read(block)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("6n", 6e-9), ("0S", 0)]
)
def test_a_time_out_is_read_in_every_unit(timeout: str, seconds: float) -> None:
    """And another one for the same head is another."""
    ours, encoder = heads.Heads(), Encoder()
    for text, expected in ((timeout, seconds), ("99999999S", 99999999), (timeout, seconds)):
        opened = ours.read(encoder.encode((*BASE, ("grpc-timeout", text))))
        assert opened is not None
        assert opened.timeout_s == pytest.approx(expected)


@pytest.mark.parametrize(
    "fields",
    [
        BASE[1:],
        BASE[:2],
        (*BASE, (":path", "/x")),
        (BASE[3], *BASE[:3]),
        (*BASE, ("Upper", "case")),
        *[(*BASE, ("grpc-timeout", wrong)) for wrong in ("", "S", "1", "-1S", "123456789S", "1s", "1.5S")],
        (*BASE, ("x-bin", "not base64!")),
    ],
)
def test_what_is_no_request_is_none(fields: tuple[tuple[str, str], ...]) -> None:
    """Its stream ends; the table has still taken it in, and what follows is read rightly."""
    ours, encoder = heads.Heads(), Encoder()
    assert ours.read(encoder.encode(fields)) is None
    opened = ours.read(encoder.encode((*BASE, ("after", "it"))))
    assert opened is not None
    assert opened.head.metadata[1:] == (("after", "it"),)


PLAIN = b"\x83\x86\x04\x02/x\x0f\x10\x10application/grpc"


def test_the_same_bytes_mean_what_the_table_says_now() -> None:
    """A reference to the newest entry is another field once there is a newer one."""
    ours = heads.Heads()
    for name in ("a", "b"):
        for block in (PLAIN + b"\x40\x01" + name.encode() + b"\x011", PLAIN + b"\xbe", PLAIN + b"\xbe"):
            opened = ours.read(block)
            assert opened is not None
            assert opened.head.metadata[1:] == ((name, "1"),)


def test_a_field_that_is_entered_twice_stands_twice_in_the_table() -> None:
    """A block that enters something does so each time that it comes."""
    ours = heads.Heads()
    for _ in range(2):
        ours.read(PLAIN + b"\x40\x01a\x011")
    opened = ours.read(PLAIN + b"\xbf")
    assert opened is not None
    assert opened.head.metadata[1:] == (("a", "1"),)


@pytest.mark.parametrize("block", [b"\x3f\xe2\x1f" + PLAIN, PLAIN + b"\x20"])
def test_a_table_is_changed_first_and_not_beyond_its_size(block: bytes) -> None:
    """4097 bytes are one too many."""
    with pytest.raises(ConnectionBroken) as broken:
        heads.Heads().read(block)
    assert broken.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_head_that_grows_in_the_reading_is_refused() -> None:
    """A few bytes that refer to a large entry over and over are counted as what they mean."""
    ours, encoder = heads.Heads(), Encoder()
    block = encoder.encode((*BASE, ("large", "x" * 3900)))
    ours.read(block)
    with pytest.raises(ConnectionBroken) as broken:
        ours.read(b"\xbe" * 100)
    assert broken.value.code is ErrorCode.ENHANCE_YOUR_CALM


@given(st.dictionaries(names, values), st.binary(max_size=3000), st.text(max_size=300))
def test_an_end_is_read_as_it_was_written(metadata: dict[str, str], details: bytes, message: str) -> None:
    """By another implementation, of any length."""
    block = heads.ending(5, message, (*metadata.items(), ("details-bin", details)))
    read = [(name.decode(), value.decode()) for name, value in Decoder().decode(block, raw=True)]
    assert read[0] == ("grpc-status", "5")
    assert read[1:][bool(message) :][:-1] == list(metadata.items())
