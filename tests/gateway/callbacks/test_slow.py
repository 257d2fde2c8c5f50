"""Callers that are slow, whatever they are slow with: they are gone in time, and nobody else notices."""

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
from gateway.callbacks.server import ConnectionLimits
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    Furnishing,
    House,
    altered,
    open_house,
)
from tests.support.waiting import until

PATH = MONACO.path("SessionExpired")
BODY = json.dumps(EXPIRED).encode()
HURRIED = Furnishing(limits=ConnectionLimits(receive_s=0.4), time_limit_s=0.4)

GONE_S = 4.0
"""Far more than the limits of these tests, and far less than anybody's idle time."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_server, "GRACE_S", 0.3)
    monkeypatch.setattr(callback_server, "TICK_S", 0.05)


def head(*headers: str, path: str = PATH) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


WHOLE = head(f"Content-Length: {len(BODY)}") + BODY

SLOW = {
    "says nothing": (b"", b""),
    "drips a head": (b"", head("X-A: " + "x" * 4000)),
    "drips lines of a head": (b"POST /nowhere HTTP/1.1\r\n", b"X: y\r\n" * 1000),
    "half a head and silence": (head()[:-2], b""),
    "drips a body": (head("Content-Length: 100000"), b"x" * 100_000),
    "half a body and silence": (head("Content-Length: 100000") + b"x" * 50_000, b""),
    "drips chunks": (head("Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 1000),
    "drips a body to nobody": (head("Content-Length: 100000", path="/nowhere"), b"x" * 100_000),
    "drips a body that it was told to send": (head("Content-Length: 100000", "Expect: 100-continue"), b"x" * 100_000),
    "drips the next head": (WHOLE, head("X-A: " + "x" * 4000)),
    "drips empty lines": (b"", b"\r\n" * 1000),
    "a stranger that is idle": (head("Content-Length: 0", path="/nowhere"), b""),
}


class Caller:
    """One connection, over which the rest of a request comes byte by byte, for as long as anybody listens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self.said = b""
        self._reader = reader
        self._writer = writer
        self._dripping = asyncio.create_task(self._drip(rest))
        self.gone = asyncio.create_task(self._read())

    async def _drip(self, rest: bytes) -> None:
        with suppress(ConnectionError):
            for byte in rest:
                await asyncio.sleep(0.02)
                self._writer.write(bytes((byte,)))
                await self._writer.drain()

    async def _read(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while more := await self._reader.read(10_000):
                self.said += more

    async def close(self) -> None:
        for task in (self._dripping, self.gone):
            task.cancel()
        await asyncio.gather(self._dripping, self.gone, return_exceptions=True)
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


@asynccontextmanager
async def calling(
    house: House, slow: Iterable[tuple[bytes, bytes]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[Caller]]:
    """Slow callers at work."""
    callers = []
    try:
        for begun, rest in slow:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port, ssl=tls)
            writer.write(begun)
            callers.append(Caller(reader, writer, rest))
        yield callers
    finally:
        for caller in callers:
            await caller.close()


async def all_gone(house: House, callers: list[Caller]) -> None:
    """Every one is hung up on, and its place is free."""
    async with asyncio.timeout(GONE_S):
        await asyncio.gather(*(caller.gone for caller in callers))
        await until(lambda: not held(house))


def held(house: House) -> int:
    return len(house.server.connections)


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's side and the callers', without TLS and with it."""
    if request.param == "plain":
        return None, None
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


async def test_slow_callers_are_gone_in_time(
    tmp_path: Path, secured: tuple[ssl.SSLContext | None, ssl.SSLContext | None]
) -> None:
    """Whatever each is slow with, and however long it goes on; over TLS too."""
    ours, theirs = secured
    furnishing = Furnishing(limits=HURRIED.limits, time_limit_s=0.4, ssl=ours)
    async with open_house(tmp_path, furnishing) as house, calling(house, SLOW.values(), theirs) as callers:
        await asyncio.wait([caller.gone for caller in callers], timeout=GONE_S)
        assert not [kind for kind, caller in zip(SLOW, callers, strict=True) if not caller.gone.done()]
        await until(lambda: not held(house))


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 1000])
async def test_a_handshake_that_drips_is_gone_in_time(tmp_path: Path, hello: bytes) -> None:
    """Whoever connects to a port that demands TLS and never gets so far."""
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(ours)
    furnishing = Furnishing(limits=HURRIED.limits, time_limit_s=0.4, ssl=ours)
    async with open_house(tmp_path, furnishing) as house, calling(house, [(b"", hello)]) as callers:
        await all_gone(house, callers)


def lengthy(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (), b"x" * 20_000_000)


@pytest.mark.parametrize(
    "requests", [WHOLE * 2, head("Content-Length: 0") * 2, WHOLE.replace(b"Host", b"Connection: close\r\nHost")]
)
async def test_a_caller_that_does_not_take_its_answer_is_gone_in_time(
    tmp_path: Path, requests: bytes, secured: tuple[ssl.SSLContext | None, ssl.SSLContext | None]
) -> None:
    """It neither reads nor leaves."""
    ours, theirs = secured
    furnishing = Furnishing(
        limits=HURRIED.limits, time_limit_s=0.4, ssl=ours, adapter=altered(LUCKYMONACO, encode_reply=lengthy)
    )
    async with open_house(tmp_path, furnishing) as house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port, ssl=theirs, limit=1000)
        writer.write(requests)
        await reader.readexactly(15)  # and no more
        await until(lambda: not held(house))
        writer.transport.abort()


async def test_a_body_that_is_late_is_answered_and_not_read_on(tmp_path: Path) -> None:
    """998 in its time, told that the connection is closed, which it is at once."""
    house = open_house(tmp_path, Furnishing(time_limit_s=0.3))
    async with house as opened, calling(opened, [SLOW["drips a body"]]) as (caller,):
        with structlog.testing.capture_logs() as logged:
            await all_gone(opened, [caller])
    answer, _, body = caller.said.partition(b"\r\n\r\n")
    assert b"Connection: close" in answer
    assert json.loads(body) == SEND_AGAIN
    assert [line["verdict"] for line in logged] == ["TRY_AGAIN"]  # and nobody had to be cut off


async def test_a_connection_may_be_idle_between_requests(tmp_path: Path) -> None:
    """For far longer than a head may take: a provider keeps its connections."""
    patient = Furnishing(limits=HURRIED.limits)
    async with open_house(tmp_path, patient) as house, house.connect() as (reader, writer):
        for _ in range(3):
            writer.write(WHOLE)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SUCCESS
            async with calling(house, [SLOW["says nothing"]]) as (silent,):
                await asyncio.wait_for(silent.gone, GONE_S)


async def test_a_later_request_has_as_much_time_as_the_first(tmp_path: Path) -> None:
    """Its time begins with its first byte: in pieces it is read, as long as they come in time."""
    patient = Furnishing(limits=ConnectionLimits(receive_s=1))
    async with open_house(tmp_path, patient) as house, house.connect() as (reader, writer):
        for _ in range(6):
            for part in (WHOLE[:20], WHOLE[20:-5], WHOLE[-5:]):
                writer.write(part)
                await asyncio.sleep(0.1)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert json.loads(await reader.readuntil(b"}")) == SUCCESS


async def test_two_hundred_drippers_stop_no_callback(tmp_path: Path) -> None:
    """Good ones are answered all the while, and the two hundred are gone in time."""
    kinds = list(SLOW.values())
    slow = [kinds[number % len(kinds)] for number in range(200)]
    patient = Furnishing(limits=HURRIED.limits, time_limit_s=2)
    async with open_house(tmp_path, patient) as house, calling(house, slow) as callers:
        async with asyncio.timeout(30):
            while not all(caller.gone.done() for caller in callers):
                assert (await house.deliver(PATH, EXPIRED)).json == SUCCESS
        await until(lambda: held(house) == 1)  # the good one's, which is kept


async def test_drippers_do_not_hold_all_places_for_long(tmp_path: Path) -> None:
    """Who comes while all are taken is refused; when the drippers' time is over there is room again."""
    furnishing = Furnishing(limits=ConnectionLimits(connections=20, receive_s=0.4), time_limit_s=0.4)
    async with open_house(tmp_path, furnishing) as house, calling(house, [SLOW["drips a head"]] * 20) as callers:
        await until(lambda: held(house) == 20)
        assert await house.raw(b"") == b""
        assert not any(caller.gone.done() for caller in callers)
        await all_gone(house, callers)
        assert (await house.deliver(PATH, EXPIRED)).json == SUCCESS


async def test_a_stop_does_not_wait_for_the_slow(tmp_path: Path) -> None:
    """Those that are at a body are answered 998 in their time, the others are hung up on, and it ends."""
    async with open_house(tmp_path, HURRIED) as house, calling(house, list(SLOW.values()) * 4) as callers:
        await until(lambda: held(house) == len(callers))
        async with asyncio.timeout(GONE_S):
            await house.server.stop()
        assert not house.server.connections
        await asyncio.wait_for(asyncio.gather(*(caller.gone for caller in callers)), GONE_S)


def weighty(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    return HttpReply(200, (), b"x" * 50_000)


async def test_an_answer_that_nobody_takes_does_not_outlast_the_idle_time(tmp_path: Path) -> None:
    """It is less than what makes the server wait, and more than the system takes: it stands in the way of a close."""
    limits = ConnectionLimits(keepalive_s=0.5)
    furnishing = Furnishing(limits=limits, adapter=altered(LUCKYMONACO, encode_reply=weighty))
    with structlog.testing.capture_logs() as logged:
        async with open_house(tmp_path, furnishing) as house:
            _, writer = await asyncio.open_connection("127.0.0.1", house.port, limit=1000)
            await until(lambda: house.server.connections)
            (connection,) = house.server.connections
            sent = 0
            while not connection.unsent_bytes:
                writer.write(WHOLE)
                sent += 1
                await until(lambda sent=sent: len(logged) == sent and connection.is_idle)  # type: ignore[misc]
            await until(lambda: not held(house))
            writer.transport.abort()
