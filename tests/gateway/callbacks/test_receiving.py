"""Bodies that are large, compressed, slow or incomplete, and callers that disconnect."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.server import ConnectionLimits
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    UNREADABLE,
    CallbackHarness,
    HarnessOptions,
    open_harness,
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
    """A body of one byte too many is UNREADABLE under HTTP 200, with Content-Length or chunked, and is recorded."""
    body = json.dumps(EXPIRED).encode().ljust(size)
    async with open_harness(tmp_path, HarnessOptions(body_limit=LIMIT)) as harness:
        reply = await harness.deliver(MONACO.path("SessionExpired"), in_pieces(body) if chunked else body)
        assert (reply.status, reply.json) == (200, answer)
        (line,) = await harness.journal()
        if answer == UNREADABLE:
            assert (line.verdict, line.request.body) == ("UNREADABLE", b"")
            assert "4096 bytes" in line.detail
            assert not await harness.events()


async def test_the_default_limit_is_64_kibibytes(harness: CallbackHarness) -> None:
    """A body of 64 KiB is read, and one of a byte more is 57."""
    body = json.dumps(EXPIRED).encode()
    assert (await harness.deliver(MONACO.path("SessionExpired"), body.ljust(64 * 1024))).json == SUCCESS
    assert (await harness.deliver(MONACO.path("SessionExpired"), body.ljust(64 * 1024 + 1))).json == UNREADABLE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_is_not_inflated(harness: CallbackHarness, encoding: str) -> None:
    """No dialect compresses: the bytes are decoded as they were sent, and are not JSON."""
    bomb = gzip.compress(b" " * 10_000_000 + json.dumps(EXPIRED).encode())
    reply = await harness.deliver(MONACO.path("SessionExpired"), bomb, {"Content-Encoding": encoding})
    assert (reply.status, reply.json) == (200, UNREADABLE)
    assert not await harness.events()


async def test_a_caller_that_expects_100_continue_gets_it(harness: CallbackHarness) -> None:
    """A client that waits for 100 Continue before it sends the body gets it, and then the reply."""
    body = json.dumps(EXPIRED).encode()
    announced = ("Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
    async with harness.connect() as (reader, writer):
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
    """A body that is incomplete or wrongly framed is answered 998, and processed when it is sent again."""
    async with open_harness(tmp_path, HarnessOptions(time_limit_s=2)) as harness, asyncio.timeout(30):
        async with harness.connect() as (reader, writer):
            writer.write(head(MONACO.path("SessionExpired"), framing, "Expect: 100-continue"))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(sent)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SEND_AGAIN
        assert not await harness.journal()
        assert (await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS


async def test_half_a_body_has_no_effect(harness: CallbackHarness) -> None:
    """Half a body has no effect, is logged as that, and the server goes on serving."""
    whole = json.dumps(EXPIRED).encode()
    with structlog.testing.capture_logs() as logged:
        async with harness.connect() as (reader, writer):
            announced = (f"Content-Length: {len(whole)}", "Expect: 100-continue")
            writer.write(head(MONACO.path("SessionExpired"), *announced))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(whole[:-1])
        other = {**EXPIRED, "sessionId": "another"}
        assert (await harness.deliver(MONACO.path("SessionExpired"), other)).json == SUCCESS
        await harness.server.stop()
    assert [event.session_id for event in await harness.events()] == ["another"]
    left, served = sorted(logged, key=lambda line: line["log_level"], reverse=True)
    assert (left["event"], left["error"]) == ("callback", "the body did not arrive whole")
    assert served["verdict"] == "ACCEPTED"


async def test_header_bytes_of_any_kind_are_recorded(harness: CallbackHarness) -> None:
    """A header that is not UTF-8 breaks neither the processing nor the journal."""
    body = json.dumps(EXPIRED).encode()
    sent = head(MONACO.path("SessionExpired"), f"Content-Length: {len(body)}", "Connection: close")
    reply = await harness.raw(sent.replace(b"Host: x", b"Host: x\r\nX-Name: J\xfcrgen \xed\xa0\x80") + body)
    assert body_of(reply) == SUCCESS
    (line,) = await harness.journal()
    assert "X-Name: J\ufffdrgen" in line.request.head


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """A connection whose head does not become complete is closed."""
    async with open_harness(tmp_path, HarnessOptions(limits=ConnectionLimits(keepalive_s=0.1))) as harness:
        async with asyncio.timeout(30):
            assert await harness.raw(b"POST /callbacks/mon") == b""


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """One connection too many is closed at once, and another is accepted when one has closed."""
    async with (
        open_harness(tmp_path, HarnessOptions(limits=ConnectionLimits(PlaceLimits(connections=1)))) as harness,
        asyncio.timeout(30),
    ):
        assert (await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS  # and is kept alive
        assert await harness.raw(b"") == b""
        assert (await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS
