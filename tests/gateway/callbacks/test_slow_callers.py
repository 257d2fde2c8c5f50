"""Slow callers are disconnected in time, and do not affect other callers."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from adapters.contract import Account, CallbackAnswer, HttpReply
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks import server as callback_server
from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.server import ConnectionLimits
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    CallbackHarness,
    HarnessOptions,
    altered,
    open_harness,
)
from tests.support.waiting import until

PATH = MONACO.path("SessionExpired")
BODY = json.dumps(EXPIRED).encode()
SHORT_LIMITS = HarnessOptions(limits=ConnectionLimits(receive_s=0.4), time_limit_s=0.4)

CLOSE_TIMEOUT_S = 30.0
"""Seconds: far more than the limits of these tests, and far less than the idle time."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_server, "GRACE_S", 0.3)
    monkeypatch.setattr(callback_server, "TICK_S", 0.05)


def head(*headers: str, path: str = PATH) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


WHOLE = head(f"Content-Length: {len(BODY)}") + BODY

SLOW = {
    "sends nothing": (b"", b""),
    "a slow head": (b"", head("X-A: " + "x" * 4000)),
    "slow lines of a head": (b"POST /nowhere HTTP/1.1\r\n", b"X: y\r\n" * 1000),
    "half a head": (head()[:-2], b""),
    "a slow body": (head("Content-Length: 100000"), b"x" * 100_000),
    "half a body": (head("Content-Length: 100000") + b"x" * 50_000, b""),
    "slow chunks": (head("Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 1000),
    "a slow body for an unknown path": (head("Content-Length: 100000", path="/nowhere"), b"x" * 100_000),
    "a slow body after 100 Continue": (head("Content-Length: 100000", "Expect: 100-continue"), b"x" * 100_000),
    "a slow second head": (WHOLE, head("X-A: " + "x" * 4000)),
    "slow empty lines": (b"", b"\r\n" * 1000),
    "an idle unauthenticated caller": (head("Content-Length: 0", path="/nowhere"), b""),
}


class SlowCaller:
    """A connection that sends the rest of a request byte by byte, until the server closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self.received = b""
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.create_task(self._send_slowly(rest))
        self.closed = asyncio.create_task(self._read())

    async def _send_slowly(self, rest: bytes) -> None:
        with suppress(ConnectionError):
            for byte in rest:
                await asyncio.sleep(0.02)
                self._writer.write(bytes((byte,)))
                await self._writer.drain()

    async def _read(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while more := await self._reader.read(10_000):
                self.received += more

    async def close(self) -> None:
        for task in (self._sending, self.closed):
            task.cancel()
        await asyncio.gather(self._sending, self.closed, return_exceptions=True)
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


@asynccontextmanager
async def slow_callers(
    harness: CallbackHarness, slow: Iterable[tuple[bytes, bytes]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[SlowCaller]]:
    """Slow callers, connected."""
    callers = []
    try:
        for begun, rest in slow:
            reader, writer = await asyncio.open_connection("127.0.0.1", harness.port, ssl=tls)
            writer.write(begun)
            callers.append(SlowCaller(reader, writer, rest))
        yield callers
    finally:
        for caller in callers:
            await caller.close()


async def wait_all_closed(harness: CallbackHarness, callers: list[SlowCaller]) -> None:
    """Wait until the server has closed every one."""
    async with asyncio.timeout(CLOSE_TIMEOUT_S):
        await asyncio.gather(*(caller.closed for caller in callers))
        await until(lambda: not connection_count(harness))


def connection_count(harness: CallbackHarness) -> int:
    return len(harness.server.connections)


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The TLS contexts of server and caller; None without TLS."""
    if request.param == "plain":
        return None, None
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    caller_tls = ssl.create_default_context()
    authority.configure_trust(caller_tls)
    return server_tls, caller_tls


async def test_slow_callers_are_closed(
    tmp_path: Path, tls: tuple[ssl.SSLContext | None, ssl.SSLContext | None]
) -> None:
    """Each kind of slow caller is disconnected, with and without TLS."""
    server_tls, caller_tls = tls
    options = HarnessOptions(limits=SHORT_LIMITS.limits, time_limit_s=0.4, ssl=server_tls)
    async with open_harness(tmp_path, options) as harness, slow_callers(harness, SLOW.values(), caller_tls) as callers:
        await asyncio.wait([caller.closed for caller in callers], timeout=CLOSE_TIMEOUT_S)
        assert not [kind for kind, caller in zip(SLOW, callers, strict=True) if not caller.closed.done()]
        await until(lambda: not connection_count(harness))


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 1000])
async def test_a_slow_tls_handshake_is_closed(tmp_path: Path, hello: bytes) -> None:
    """A TLS handshake that does not become complete is disconnected."""
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server_tls)
    options = HarnessOptions(limits=SHORT_LIMITS.limits, time_limit_s=0.4, ssl=server_tls)
    async with open_harness(tmp_path, options) as harness, slow_callers(harness, [(b"", hello)]) as callers:
        await wait_all_closed(harness, callers)


def large_reply(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (), b"x" * 20_000_000)


@pytest.mark.parametrize(
    "requests", [WHOLE * 2, head("Content-Length: 0") * 2, WHOLE.replace(b"Host", b"Connection: close\r\nHost")]
)
async def test_a_caller_that_does_not_read_its_reply_is_closed(
    tmp_path: Path, requests: bytes, tls: tuple[ssl.SSLContext | None, ssl.SSLContext | None]
) -> None:
    """A caller that neither reads its reply nor disconnects is disconnected."""
    server_tls, caller_tls = tls
    options = HarnessOptions(
        limits=SHORT_LIMITS.limits,
        time_limit_s=0.4,
        ssl=server_tls,
        adapter=altered(LUCKYMONACO, encode_reply=large_reply),
    )
    async with open_harness(tmp_path, options) as harness:
        reader, writer = await asyncio.open_connection("127.0.0.1", harness.port, ssl=caller_tls, limit=1000)
        writer.write(requests)
        await reader.readexactly(15)  # and no more
        await until(lambda: not connection_count(harness))
        writer.transport.abort()


async def test_a_late_body_is_answered_and_not_read_further(tmp_path: Path) -> None:
    """A late body is answered 998 with Connection: close, and the connection is closed."""
    harness = open_harness(tmp_path, HarnessOptions(time_limit_s=0.4))
    async with harness as opened, slow_callers(opened, [SLOW["a slow body"]]) as (caller,):
        with structlog.testing.capture_logs() as logged:
            await wait_all_closed(opened, [caller])
    answer, _, body = caller.received.partition(b"\r\n\r\n")
    assert b"Connection: close" in answer
    assert json.loads(body) == SEND_AGAIN
    assert [line["verdict"] for line in logged] == ["TRY_AGAIN"]  # and no connection had to be aborted


async def test_a_connection_may_be_idle_between_requests(tmp_path: Path) -> None:
    """A connection may be idle for longer than a head may take: a provider keeps its connections."""
    options = HarnessOptions(limits=SHORT_LIMITS.limits)
    async with open_harness(tmp_path, options) as harness, harness.connect() as (reader, writer):
        for _ in range(3):
            writer.write(WHOLE)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SUCCESS
            async with slow_callers(harness, [SLOW["sends nothing"]]) as (silent_caller,):
                await asyncio.wait_for(silent_caller.closed, CLOSE_TIMEOUT_S)


async def test_a_later_request_has_as_much_time_as_the_first(tmp_path: Path) -> None:
    """The time of a later request starts with its first byte, and it may come in pieces."""
    options = HarnessOptions(limits=ConnectionLimits(receive_s=2))
    async with open_harness(tmp_path, options) as harness, harness.connect() as (reader, writer):
        for _ in range(9):
            for part in (WHOLE[:20], WHOLE[20:-5], WHOLE[-5:]):
                writer.write(part)
                await asyncio.sleep(0.1)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SUCCESS


async def test_two_hundred_slow_callers_stop_no_callback(tmp_path: Path) -> None:
    """Callbacks are answered while two hundred slow callers are connected, and those are disconnected."""
    kinds = list(SLOW.values())
    slow = [kinds[number % len(kinds)] for number in range(200)]
    options = HarnessOptions(limits=SHORT_LIMITS.limits, time_limit_s=2)
    async with open_harness(tmp_path, options) as harness, slow_callers(harness, slow) as callers:
        async with asyncio.timeout(60):
            while not all(caller.closed.done() for caller in callers):
                assert (await harness.deliver(PATH, EXPIRED)).json == SUCCESS
        await until(lambda: connection_count(harness) == 1)  # the other caller's


async def test_slow_callers_do_not_hold_all_connections(tmp_path: Path) -> None:
    """At the limit a callback replaces the oldest slow caller, and the others stay until they are disconnected."""
    options = HarnessOptions(limits=ConnectionLimits(PlaceLimits(connections=20), receive_s=2), time_limit_s=0.4)
    async with open_harness(tmp_path, options) as harness, slow_callers(harness, [SLOW["a slow head"]] * 20) as callers:
        await until(lambda: connection_count(harness) == 20)
        assert (await harness.deliver(PATH, EXPIRED)).json == SUCCESS
        await asyncio.gather(*(caller.closed for caller in callers))
        assert (await harness.deliver(PATH, EXPIRED)).json == SUCCESS


async def test_a_stop_closes_slow_callers(tmp_path: Path) -> None:
    """A stop answers slow bodies with 998, closes the other connections, and ends."""
    slow = [sent for kind, sent in SLOW.items() if kind != "an idle unauthenticated caller"]  # that one is closed
    async with open_harness(tmp_path, SHORT_LIMITS) as harness, slow_callers(harness, slow * 4) as callers:
        await until(lambda: connection_count(harness) == len(callers))
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await harness.server.stop()
        assert not harness.server.connections
        await asyncio.wait_for(asyncio.gather(*(caller.closed for caller in callers)), CLOSE_TIMEOUT_S)


def medium_reply(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (), b"x" * 50_000)


async def test_an_unread_reply_does_not_keep_an_idle_connection(tmp_path: Path) -> None:
    """A reply that waits in the server's buffer, too small to block it, does not prevent the close of an idle
    connection.
    """
    limits = ConnectionLimits(keepalive_s=0.5)
    options = HarnessOptions(limits=limits, adapter=altered(LUCKYMONACO, encode_reply=medium_reply))
    with structlog.testing.capture_logs() as logged:
        async with open_harness(tmp_path, options) as harness:
            _, writer = await asyncio.open_connection("127.0.0.1", harness.port, limit=1000)
            await until(lambda: harness.server.connections)
            (connection,) = harness.server.connections
            assert connection.transport is not None
            sent = 0
            while not connection.transport.get_write_buffer_size():
                writer.write(WHOLE)
                sent += 1
                await until(lambda sent=sent: len(logged) == sent and connection.is_idle)  # type: ignore[misc]
            await until(lambda: not connection_count(harness))
            writer.transport.abort()
