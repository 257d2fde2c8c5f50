"""A response is parsed the same in pieces of any size, and nothing else is accepted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import HttpReply
from gateway.outbound.response_parser import RemoteProtocolError, ResponseParser

LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CUT = "cut"
"""The connection ended before there was an answer."""
Read = tuple[HttpReply | str, bool]


def parse(*pieces: bytes, to_head: bool = False) -> Read:
    """The result of a response in these pieces, and whether its connection can be reused."""
    parser = ResponseParser(LIMIT, to_head=to_head)
    try:
        for position, piece in enumerate(pieces):
            if (reply := parser.feed(piece)) is not None:
                return reply, parser.reusable and not any(pieces[position + 1 :])
    except RemoteProtocolError as rejected:
        return str(rejected), parser.reusable
    return parser.end() or CUT, False


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


ACCEPTED = {
    "with a length": (OK + b"Content-Length: 2\r\n\r\n{}", b"{}", True),
    "without a body": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "in chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"one ", b"two"), b"one two", True),
    "in padded chunks": (OK + b"Transfer-Encoding: Chunked\r\n\r\n2  \r\n{}\r\n0\r\n\r\n", b"{}", True),
    "with a trailer": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", b"{}", True),
    "until the end": (OK + b"\r\n{}", b"{}", False),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", False),
    "of HTTP/1.0, kept": (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "and then closes": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", b"{}", False),
    "without a reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "with bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", b"{}", True),
    "after interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "as identity": (OK + b"Content-Encoding: Identity\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "of the maximum size": (OK + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * LIMIT, b"x" * LIMIT, True),
    "of the maximum header": (OK + b"X: " + b"a" * 65535 + b"\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "with a folded header": (OK + b"X: a\r\n b\r\n\t\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "with a fold after the colon": (OK + b"X:\r\n b\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "with a fold and bare line feeds": (b"HTTP/1.1 200 OK\nX: a\n  b\nContent-Length: 2\n\n{}", b"{}", True),
    "with a fold that reads as a length": (
        OK + b"X: a\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "with a fold in an interim answer": (
        b"HTTP/1.1 103 Hints\r\nLink: a\r\n b\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "with an encoding that is none": (
        OK + b"Content-Encoding: utf-8\r\nContent-Encoding:\r\nContent-Length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "with a long reason": (b"HTTP/1.1 200 " + b"O" * 9000 + b"\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "with letters beyond ASCII": (b"HTTP/1.1 200 \xff\r\nX:\xe9\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "of the maximum number of lines": (OK + b"X: a\r\n" * 127 + b"Content-Length: 2\r\n\r\n{}", b"{}", True),
}


@pytest.mark.parametrize(("sent", "body", "reusable"), ACCEPTED.values(), ids=ACCEPTED)
def test_valid_responses_are_accepted(sent: bytes, body: bytes, reusable: bool) -> None:
    """Every framing is parsed, whole and byte by byte, and decides whether the connection is kept."""
    for pieces in ([sent], one_by_one(sent)):
        reply, kept = parse(*pieces)
        assert isinstance(reply, HttpReply), reply
        assert (reply.status, reply.body, kept) == (200, body, reusable)
        assert reply.header("X-Sum") is reply.header("Link") is None, "a header of a trailer or an interim response"


@given(st.sampled_from(sorted(ACCEPTED)), st.data())
def test_the_split_does_not_matter(which: str, data: st.DataObject) -> None:
    """Any split into pieces gives the same reply."""
    sent = ACCEPTED[which][0]
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent)), max_size=8))})
    assert parse(*(sent[start:end] for start, end in pairwise(cuts))) == parse(sent)


REJECTED = {
    "garbage": b"garbage\r\n\r\n",
    "nothing but a space": b" ",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": OK + b"Content-Length: +1\r\n\r\na",
    "a length beyond all bounds": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length with chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "another transfer encoding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "another transfer encoding at last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n{}",
    "another transfer encoding alone": OK + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "an encoding": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "an encoding in two lines": OK
    + b"Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    "another protocol": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "another protocol, unnamed": b"HTTP/1.1 101 Switching\r\n\r\n",
    "an interim answer with a body": b"HTTP/1.1 103 Hints\r\nContent-Length: 2\r\n\r\n{}",
    "no status": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\n{}",
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 130,
    "too long a header": OK + b"X: " + b"a" * 65536 + b"\r\n\r\n",
    "too long a name": OK + b"X" * 65536 + b": a\r\n\r\n",
    "too long a head": OK
    + b"X: "
    + b"a" * 60_000
    + b"\r\n"
    + b"Y: "
    + b"a" * 60_000
    + b"\r\nZ: "
    + b"a" * 12_000
    + b"\r\n\r\n",
    "too many lines": OK + b"X: a\r\n" * 128 + b"Content-Length: 2\r\n\r\n{}",
    "too many trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 128 + b"\r\n",
    "a fold in a length": OK + b"Content-Length: 1\r\n 1\r\n\r\n" + b"x" * 11,
    "a fold before a length": OK + b"content-length :\r\n\t2\r\n\r\n{}",
    "a fold in a transfer encoding": OK + b"X: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a fold after the status": OK + b" X: a\r\nContent-Length: 2\r\n\r\n{}",
    "a fold in an encoding": OK + b"Content-Encoding: identity,\r\n gzip\r\nContent-Length: 2\r\n\r\n{}",
    "a zero in a fold": OK + b"X: a\r\n \x00b\r\n\r\n",
    "a zero in a line": OK + b"X: a\x00b\r\n\r\n",
    "too large a body": OK + b"\r\n" + b"x" * (LIMIT + 1),
    "too large a length": OK + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1),
    "too many chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[b"x" * 100] * 11),
}


@pytest.mark.parametrize("sent", REJECTED.values(), ids=REJECTED)
def test_invalid_responses_are_rejected(sent: bytes) -> None:
    """Broken, oversized, encoded and switched responses give no reply, whole or byte by byte."""
    for pieces in ([sent], one_by_one(sent)):
        reply, kept = parse(*pieces)
        assert isinstance(reply, str)
        assert reply != CUT
        assert not kept


@pytest.mark.parametrize(
    "endless",
    [
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=" + b"a" * 40_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 40_000,
    ],
)
def test_a_line_without_an_end_is_rejected(endless: bytes) -> None:
    """This limits the memory between chunks and after them."""
    for pieces in ([endless[:100], endless[100:]], one_by_one(endless)):
        assert parse(*pieces)[0] == "answered with something that is not HTTP"


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", OK + b"X: ", OK + b"X"])
def test_a_head_without_an_end_is_rejected(start: bytes) -> None:
    """The error names the limit."""
    for pieces in ([start, b"a" * 140_000], one_by_one(start + b"a" * 140_000)):
        assert parse(*pieces)[0] == "answered with headers of more than 131072 bytes"


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("too long a header", "a header of more than 65536 bytes"),
        ("too many lines", "more than 128 header lines"),
        ("an encoding", "Content-Encoding gzip although identity was requested"),
        ("a fold in a length", "a line break inside Content-Length or Transfer-Encoding"),
        ("too large a body", "more than 1000 bytes"),
    ],
)
def test_the_error_names_the_limit(which: str, says: str) -> None:
    """What the provider did is in the words, with the figure."""
    assert parse(REJECTED[which])[0] == f"answered with {says}"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_status_without_a_body_is_complete_with_its_head(status: int, framing: bytes) -> None:
    """A 204 and a 304 have no body, whatever their headers say."""
    reply, kept = parse(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, framing))
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body, kept) == (status, b"", True)


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_the_response_to_head_has_no_body(framing: bytes) -> None:
    """Its Content-Length is that of the response to GET."""
    reply, kept = parse(OK + framing + b"\r\n", to_head=True)
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body, kept) == (200, b"", False)


@pytest.mark.parametrize("status", [307, 401, 429, 503])
@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        b"Content-Length: 9999\r\n\r\n",
        b"\r\n" + b"x" * 9999,
    ],
)
def test_a_status_that_decides_the_outcome_needs_no_body(status: int, rest: bytes) -> None:
    """The response is accepted even where its body is not."""
    sent = b"HTTP/1.1 %d X\r\nRetry-After: 7\r\n" % status + rest
    for pieces in ([sent], one_by_one(sent)):
        reply, kept = parse(*pieces)
        assert isinstance(reply, HttpReply)
        assert (reply.status, reply.header("Retry-After"), reply.body, kept) == (status, "7", b"", False)


@pytest.mark.parametrize("more", [b"H", b"garbage", OK + b"Content-Length: 1\r\n\r\n!", b"\x00"])
def test_bytes_after_a_response_end_only_the_connection(more: bytes) -> None:
    """The response is valid, and the bytes after it never answer the next request."""
    for sent in (ACCEPTED["with a length"][0], ACCEPTED["in chunks"][0], ACCEPTED["and then closes"][0]):
        whole, _ = parse(sent)
        assert parse(sent + more) == (whole, False)


def test_headers_are_unchanged() -> None:
    """Names keep their case, values lose only the space around them, and repeated headers are kept."""
    reply, _ = parse(OK + b"X-Odd:\t \xe9 x \t\r\nset-cookie: a\r\nSet-Cookie:\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(reply, HttpReply)
    assert reply.headers == (("X-Odd", "é x"), ("set-cookie", "a"), ("Set-Cookie", ""), ("Content-Length", "0"))


_DECORATIONS = [
    b"X: a\r\n b",
    b"X-Y:\r\n\t a\r\n  ",
    b"Content-Encoding: utf-8",
    b"Content-Encoding: identity",
    b"Content-Type: text/html; charset=utf-16",
    b"Content-Type:application/json",
    b"Set-Cookie: " + b"c" * 9000,
    b"X-Odd: \xff\xfe",
]


@given(st.lists(st.sampled_from(_DECORATIONS), max_size=6), st.booleans(), st.data())
def test_decoration_does_not_decide_the_outcome(lines: list[bytes], in_chunks: bool, data: st.DataObject) -> None:
    """Whatever headers are around a readable answer, in any split, its status and body are the same."""
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: 2"
    at = data.draw(st.integers(0, len(lines)))
    head = OK + b"".join(line + b"\r\n" for line in (*lines[:at], framing, *lines[at:])) + b"\r\n"
    sent = head + (chunked(b"{", b"}") if in_chunks else b"{}")
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent)), max_size=8))})
    reply, kept = parse(*(sent[start:end] for start, end in pairwise(cuts)))
    assert isinstance(reply, HttpReply), reply
    assert (reply.status, reply.body, kept) == (200, b"{}", True)
    assert len(reply.headers) == len(lines) + 1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Be",
        OK + b"Content-Length: 3\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
    ],
)
def test_a_truncated_response_is_none(sent: bytes) -> None:
    """Only a response without a length is complete at the end of its connection."""
    assert parse(sent) == (CUT, False)


@given(
    st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([OK, b"\r\n", b"\r\n\r\n", b"Content-Length: 2\r\n"])))
)
def test_any_bytes_are_parsed_or_rejected(pieces: list[bytes]) -> None:
    """No sequence of bytes raises another error, and a reply begins as HTTP does."""
    reply, _ = parse(*pieces)
    if isinstance(reply, HttpReply):
        assert b"".join(pieces).lstrip(b"\r\n").startswith(b"HTTP/")
        assert reply.status >= 200
