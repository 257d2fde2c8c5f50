"""Callers without a key cost little: their heads are bounded, and what follows is not parsed."""

import asyncio
import json
import logging
import socket
from pathlib import Path
from unittest import mock

import pytest
from aiohttp import web

from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.reading import _HELD_BYTES, _PIECE_BYTES, MAX_HEAD_BYTES
from gateway.callbacks.server import ConnectionLimits
from gateway.telemetry.metrics import Metrics
from tests.gateway.callbacks.harness import EXPIRED, KYREN_EU, MONACO, SUCCESS, HarnessOptions, open_harness
from tests.gateway.callbacks.test_rejections import counted
from tests.support.waiting import until

BODY = json.dumps(EXPIRED).encode()
SUCCESS_BODY = json.dumps(SUCCESS, separators=(",", ":")).encode()
HEADER = b"X-Filling: " + b"a" * 1000 + b"\r\n"


def head(path: str, *more: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + b"".join(more)


async def test_a_head_without_an_end_is_refused(tmp_path: Path) -> None:
    """However many headers follow, no more of them is parsed than the bound, and the connection is closed."""
    metrics = Metrics()
    sent = head("/", *[HEADER] * 100)
    with mock.patch.object(web.RequestHandler, "data_received", autospec=True) as parsed:
        async with (
            open_harness(tmp_path, HarnessOptions(metrics=metrics)) as harness,
            harness.connect() as (reader, writer),
            asyncio.timeout(30),
        ):
            for start in range(0, len(sent), 3000):
                writer.write(sent[start : start + 3000])
                await asyncio.sleep(0)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431 ")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
    assert sum(len(call.args[1]) for call in parsed.call_args_list) == MAX_HEAD_BYTES
    assert counted(metrics)["not_http"] == 1


@pytest.mark.parametrize(("headers", "status"), [(31, b"200"), (33, b"431")])
async def test_a_head_within_the_bound_is_served(tmp_path: Path, headers: int, status: bytes) -> None:
    """The bound is of the whole head, which may arrive in one piece with its body, on any request of a connection."""
    ended = b"Content-Length: %d\r\n\r\n" % len(BODY)
    path = MONACO.path("SessionExpired")
    async with open_harness(tmp_path) as harness, harness.connect() as (reader, writer), asyncio.timeout(30):
        for number, expected in ((1, b"200"), (headers, status)):
            writer.write(head(path, *[HEADER] * number, ended) + BODY)
            reply = await reader.readuntil(b"\r\n\r\n")
            assert reply.split()[1] == expected
            if expected == b"200":
                assert await reader.readexactly(len(SUCCESS_BODY)) == SUCCESS_BODY


async def test_chunks_of_a_keyless_caller_are_not_parsed(tmp_path: Path) -> None:
    """Chunks of one byte, which cost far more to parse than to send, are ignored before and after the 404."""
    chunks = b"1\r\n \r\n" * 100_000
    feed = web.RequestHandler.data_received
    parsed = 0

    def count(connection: web.RequestHandler, data: bytes) -> None:
        nonlocal parsed
        parsed += len(data)
        feed(connection, data)

    with mock.patch.object(web.RequestHandler, "data_received", count):
        async with open_harness(tmp_path) as harness, asyncio.timeout(30):
            answer = await harness.raw(
                head("/callbacks/monaco/wrong/V4/Result", b"Transfer-Encoding: chunked\r\n\r\n") + chunks
            )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert parsed <= _PIECE_BYTES


async def test_a_body_after_its_head_is_read_whole(tmp_path: Path) -> None:
    """A body that arrives with its head, in chunks and beyond what is held, is parsed once it is authenticated."""
    padded = json.dumps({**EXPIRED, "filling": "x" * 200_000}).encode()
    chunked = (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (padded[:70_000], padded[70_000:])) + b"0\r\n\r\n"
    )
    request = head(MONACO.path("SessionExpired"), b"Transfer-Encoding: chunked\r\n\r\n") + chunked
    async with open_harness(tmp_path, HarnessOptions(body_limit=300_000)) as harness, asyncio.timeout(30):
        assert (await harness.raw(request)).endswith(SUCCESS_BODY)


async def test_reading_pauses_until_the_request_is_authenticated(tmp_path: Path) -> None:
    """No more is read than may wait for it; then the rest of the body is read."""
    padded = json.dumps({**EXPIRED, "filling": "x" * 200_000}).encode()
    request = head(MONACO.path("SessionExpired"), b"Content-Length: %d\r\n\r\n" % len(padded)) + padded
    piece = MAX_HEAD_BYTES + _HELD_BYTES + 1
    async with (
        open_harness(tmp_path, HarnessOptions(body_limit=300_000)) as harness,
        harness.connect() as (reader, writer),
        asyncio.timeout(30),
    ):
        await until(lambda: harness.server.connections)
        (connection,) = harness.server.connections
        connection.data_received(request[:piece])
        assert connection.transport is not None
        assert not connection.transport.is_reading()
        writer.write(request[piece:])
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(SUCCESS_BODY)) == SUCCESS_BODY


async def test_answered_callbacks_hold_no_place(tmp_path: Path) -> None:
    """Connections that only wait for the end of a body that was refused give their places to another provider."""
    options = HarnessOptions(body_limit=1000, limits=ConnectionLimits(PlaceLimits(connections=2)))
    unfinished = head(MONACO.path("SessionExpired"), b"Content-Length: 9000\r\n\r\n", b"x" * 2000)
    async with (
        open_harness(tmp_path, options) as harness,
        harness.connect() as first,
        harness.connect() as second,
        asyncio.timeout(30),
    ):
        for reader, writer in (first, second):
            writer.write(unfinished)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        reply = await harness.deliver(KYREN_EU.path("SessionExpired"), EXPIRED)
        assert reply.json == SUCCESS


async def test_an_idle_connection_ends_with_its_whole_reply(tmp_path: Path) -> None:
    """What is still to be sent when a new connection takes its place is sent."""
    limits = ConnectionLimits(PlaceLimits(connections=1))
    request = head(MONACO.path("SessionExpired"), b"Content-Length: %d\r\n\r\n" % len(BODY)) + BODY
    rest = b"x" * 500_000
    async with (
        open_harness(tmp_path, HarnessOptions(limits=limits)) as harness,
        harness.connect() as (reader, writer),
        asyncio.timeout(30),
    ):
        writer.write(request)
        await reader.readuntil(SUCCESS_BODY)
        (connection,) = harness.server.connections
        await until(lambda: connection.is_idle)
        assert connection.transport is not None
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.transport.write(rest)
        assert connection.transport.get_write_buffer_size() > 0
        async with harness.connect():
            assert len(await reader.read(-1)) == len(rest)


async def test_what_follows_the_parsed_piece_is_not_read_as_a_request(tmp_path: Path) -> None:
    """A request that fills a piece exactly, and another one behind it: one answer, then the connection is closed.

    The other one is not even parsed: its head would have no bound.
    """
    start = head(MONACO.path("SessionExpired"))
    room = _PIECE_BYTES - len(start) - len(b"Content-Length: 999\r\n\r\n")
    body = json.dumps({**EXPIRED, "filling": ""}).encode()
    body = body.replace(b'"filling": ""', b'"filling": "' + b"x" * (room - len(body)) + b'"')
    request = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert len(request) == _PIECE_BYTES
    feed, parsed = web.RequestHandler.data_received, b""

    def note(connection: web.RequestHandler, data: bytes) -> None:
        nonlocal parsed
        parsed += data
        feed(connection, data)

    with mock.patch.object(web.RequestHandler, "data_received", note):
        async with open_harness(tmp_path) as harness, asyncio.timeout(10):
            assert (await harness.raw(request + request)).count(b"HTTP/1.1 ") == 1
    assert parsed == request


@pytest.mark.parametrize("host", [b"xn--a", b"xn--" + b"a" * 70])
async def test_a_target_with_an_invalid_host_raises_nothing(
    tmp_path: Path, host: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered 404, and no caller without a key writes a traceback to the log."""
    metrics = Metrics()
    async with (
        open_harness(tmp_path, HarnessOptions(metrics=metrics)) as harness,
        harness.connect() as (reader, writer),
    ):
        async with asyncio.timeout(30):
            writer.write(b"GET http://" + host + b"/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert counted(metrics)["not_authenticated"] == 1
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
