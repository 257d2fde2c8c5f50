"""Receiving: bodies that are large, compressed, slow or cut off, and callers that leave."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from gateway.callbacks.server import ConnectionLimits
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    UNREADABLE,
    Furnishing,
    House,
    open_house,
)

LIMIT = 4096


async def in_pieces(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def body_of(reply: bytes) -> object:
    return json.loads(reply.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "answer"), [(LIMIT, SUCCESS), (LIMIT + 1, UNREADABLE), (1_000_000, UNREADABLE)])
async def test_a_body_beyond_the_limit_is_57(tmp_path: Path, chunked: bool, size: int, answer: object) -> None:
    """One byte too much is the dialect's UNREADABLE under HTTP 200, announced or chunked, and is journalled."""
    body = json.dumps(EXPIRED).encode().ljust(size)
    async with open_house(tmp_path, Furnishing(body_limit=LIMIT)) as house:
        said = await house.deliver(MONACO.path("SessionExpired"), in_pieces(body) if chunked else body)
        assert (said.status, said.json) == (200, answer)
        (line,) = await house.journal()
        if answer == UNREADABLE:
            assert (line.verdict, line.request.body) == ("UNREADABLE", b"")
            assert "4096 bytes" in line.detail
            assert not await house.events()


async def test_the_default_limit_is_a_mebibyte(house: House) -> None:
    """A mebibyte must be read, and one byte more be 57, both under HTTP 200."""
    body = json.dumps(EXPIRED).encode()
    assert (await house.deliver(MONACO.path("SessionExpired"), body.ljust(1024 * 1024))).json == SUCCESS
    assert (await house.deliver(MONACO.path("SessionExpired"), body.ljust(1024 * 1024 + 1))).json == UNREADABLE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_is_not_inflated(house: House, encoding: str) -> None:
    """No dialect compresses: the bytes are judged as they travelled, and are not JSON."""
    bomb = gzip.compress(b" " * 10_000_000 + json.dumps(EXPIRED).encode())
    said = await house.deliver(MONACO.path("SessionExpired"), bomb, {"Content-Encoding": encoding})
    assert (said.status, said.json) == (200, UNREADABLE)
    assert not await house.events()


async def test_a_caller_that_expects_100_continue_is_told_to_go_on(house: House) -> None:
    """A client that waits for our word before it sends the body must get it, and then the answer."""
    body = json.dumps(EXPIRED).encode()
    announced = ("Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
    async with house.connect() as (reader, writer):
        writer.write(head(MONACO.path("SessionExpired"), *announced))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        reply = await reader.read()
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body_of(reply) == SUCCESS


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Content-Length: 100", b"{"),
        ("Transfer-Encoding: chunked", b"64\r\n{"),
        ("Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_that_never_ends_is_answered_in_time(tmp_path: Path, framing: str, sent: bytes) -> None:
    """A body that does not arrive, or in no readable framing, is answered 998, and judged when it comes again."""
    async with open_house(tmp_path, Furnishing(time_limit_s=0.2)) as house, asyncio.timeout(5):
        async with house.connect() as (reader, writer):
            writer.write(head(MONACO.path("SessionExpired"), framing, "Expect: 100-continue"))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(sent)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SEND_AGAIN
        assert not await house.journal()
        assert (await house.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS


async def test_a_caller_that_leaves_midway_has_told_nothing(house: House) -> None:
    """Half a body must have no effect, be logged as what it is, and leave the server serving."""
    whole = json.dumps(EXPIRED).encode()
    with structlog.testing.capture_logs() as logged:
        async with house.connect() as (reader, writer):
            announced = (f"Content-Length: {len(whole)}", "Expect: 100-continue")
            writer.write(head(MONACO.path("SessionExpired"), *announced))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(whole[:-1])
        other = {**EXPIRED, "sessionId": "another"}
        assert (await house.deliver(MONACO.path("SessionExpired"), other)).json == SUCCESS
        await house.server.stop()
    assert [event.session_id for event in await house.events()] == ["another"]
    left, served = sorted(logged, key=lambda line: line["log_level"], reverse=True)
    assert (left["event"], left["error"]) == ("callback", "the body did not arrive whole")
    assert served["verdict"] == "ACCEPTED"


async def test_header_bytes_of_any_kind_are_kept_readable(house: House) -> None:
    """A header that is not UTF-8 must neither break the judging nor the journal."""
    body = json.dumps(EXPIRED).encode()
    sent = head(MONACO.path("SessionExpired"), f"Content-Length: {len(body)}", "Connection: close")
    reply = await house.raw(sent.replace(b"Host: x", b"Host: x\r\nX-Name: J\xfcrgen \xed\xa0\x80") + body)
    assert body_of(reply) == SUCCESS
    (line,) = await house.journal()
    assert "X-Name: J\ufffdrgen" in line.request.head


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """A caller that drips a head, or says nothing, must not keep its connection."""
    async with open_house(tmp_path, Furnishing(limits=ConnectionLimits(keepalive_s=0.1))) as house:
        async with asyncio.timeout(5):
            assert await house.raw(b"POST /callbacks/mon") == b""


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """One connection too many is closed at once, and there is room again when another has gone."""
    async with open_house(tmp_path, Furnishing(limits=ConnectionLimits(connections=1))) as house, asyncio.timeout(5):
        assert (await house.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS  # and is kept alive
        assert await house.raw(b"") == b""
        assert (await house.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS
